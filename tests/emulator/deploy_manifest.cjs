// Prepares a deployment as `firebase deploy` does, with the CLI's own code, and writes what it would
// then create. Google is not asked: who would answer is replaced below, and notes what was asked for.
//
// argv: the project's directory; one in it, with the settings in .env.*, for result.json and
// source.zip; the runtime; and --force, without which nothing is retried that fails.

const { copyFileSync, writeFileSync } = require("node:fs");
const { join, relative } = require("node:path");

const [projectDir, directory, runtime] = process.argv.slice(2);
const cli = join(projectDir, "node_modules/firebase-tools/lib");
const load = (module) => require(join(cli, module));

const projectId = "demo-chatsync";
const projectNumber = "123456789";
const apis = new Set();
const bindings = [];

// The Google side: an empty project, with a database in Mumbai and the secret.
const apiName = (api) => (api.startsWith("http") ? new URL(api).hostname : api);
const noteApi = async (_, api) => void apis.add(apiName(api));
const secret = { name: "STREAM_API_SECRET", projectId, labels: {} };
const version = { secret, versionId: "1", state: "ENABLED" };
const backend = load("deploy/functions/backend");
Object.assign(load("ensureApiEnabled"), { ensure: noteApi, check: async () => false });
Object.assign(load("gcp/serviceusage"), { generateServiceIdentity: async () => {} });
Object.assign(load("functionsConfig"), { getFirebaseConfig: async () => ({ projectId }) });
Object.assign(backend, {
  existingBackend: async () => backend.empty(),
  checkAvailability: async () => {},
});
Object.assign(load("gcp/firestore"), { getDatabase: async () => ({ locationId: "asia-south1" }) });
Object.assign(load("gcp/secretManager"), {
  getSecretMetadata: async () => ({ secret, secretVersion: version }),
  getSecretVersion: async () => version,
});
Object.assign(load("gcp/computeEngine"), {
  getDefaultServiceAccount: async (number) => `${number}-compute@developer.gserviceaccount.com`,
});
Object.assign(load("gcp/resourceManager"), {
  getIamPolicy: async () => ({ bindings: [] }),
  setIamPolicy: async (_, policy) => void bindings.push(...policy.bindings),
});

const { Config } = load("config");
const { FirestoreApi } = load("firestore/api");
const { jobFromEndpoint } = load("gcp/cloudscheduler");
const { queueFromEndpoint } = load("gcp/cloudtasks");
const { functionFromEndpoint } = load("gcp/cloudfunctionsv2");
const { prepare } = load("deploy/functions/prepare");
const firebaseJson = require(join(projectDir, "firebase.json"));
const indexes = require(join(projectDir, firebaseJson.firestore.indexes));

async function main() {
  new FirestoreApi().validateSpec(indexes);

  const [functions] = firebaseJson.functions;
  const configDir = relative(projectDir, directory);
  const source = { ...firebaseJson, functions: [{ ...functions, runtime, configDir }] };
  const options = {
    config: new Config(source, { projectDir }),
    projectId,
    projectNumber,
    nonInteractive: true,
    force: process.argv.includes("--force"),
  };
  const context = { projectId };
  const payload = {};
  await prepare(context, options, payload);

  const endpoints = backend.allEndpoints(payload.functions[functions.codebase].wantBackend);
  const byName = (make, wanted = endpoints) =>
    Promise.all(wanted.map(async (one) => [one.id, await make(one)])).then(Object.fromEntries);
  const result = {
    functions: await byName(functionFromEndpoint),
    queues: await byName(queueFromEndpoint, endpoints.filter(backend.isTaskQueueTriggered)),
    jobs: await byName(
      (one) => jobFromEndpoint({ ...one, uri: "https://function" }, one.region, projectNumber),
      endpoints.filter(backend.isScheduleTriggered),
    ),
    apis: [...apis].sort(),
    bindings,
  };
  writeFileSync(join(directory, "result.json"), JSON.stringify(result));
  // The CLI removes its own at the end.
  const archive = context.sources[functions.codebase].functionsSourceV2;
  copyFileSync(archive, join(directory, "source.zip"));
}

// Some of the CLI's timers would go on.
main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
