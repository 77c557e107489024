// Prepares and plans a deployment as `firebase deploy` does, with the CLI's own code, and writes what
// it would then create. Google is not asked: who would answer is replaced below, and notes what was
// asked for. So is whoever sits at the terminal, and the start of other programs.
//
// argv: the directory with the CLI; that of the project, which gets result.json and source.zip; and
// --used, if Firestore and Auth have been used there; --force, which agrees to all questions; --ask,
// as in a terminal, where the answer is yes or the default; --emulators, to load the functions as
// the emulators do instead.

const childProcess = require("node:child_process");
const { copyFileSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const [cliDir, projectDir, ...flags] = process.argv.slice(2);
const cli = join(cliDir, "node_modules/firebase-tools/lib");
const load = (module) => require(join(cli, module));

const projectId = "demo-chatsync";
const projectNumber = "123456789";
const apis = new Set();
const bindings = [];
const started = [];
const questions = [];
const tasks = [];

for (const name of ["spawn", "spawnSync", "exec", "execSync", "execFile", "execFileSync", "fork"]) {
  const start = childProcess[name];
  childProcess[name] = (command, ...rest) => {
    started.push([command, ...(Array.isArray(rest[0]) ? rest[0] : [])].join(" "));
    return start(command, ...rest);
  };
}

// The Google side: an empty project, with a database in Mumbai and the secret.
const apiName = (api) => (api.startsWith("http") ? new URL(api).hostname : api);
const noteApi = async (_, api) => void apis.add(apiName(api));
const secret = { name: "STREAM_API_SECRET", projectId, labels: {} };
const version = { secret, versionId: "1", state: "ENABLED" };
const backend = load("deploy/functions/backend");
const demanded = ["iam.googleapis.com", "cloudresourcemanager.googleapis.com"];
const used = ["firestore.googleapis.com", "identitytoolkit.googleapis.com"];
Object.assign(load("ensureApiEnabled"), {
  ensure: noteApi,
  check: async (_, api) =>
    demanded.includes(api) ? Boolean(apis.add(api)) : flags.includes("--used") && used.includes(api),
});
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
Object.assign(load("gcp/iam"), {
  generateManagedServiceAccountName: async () => "firebase-fn-0000000001",
  testIamPermissions: async () => ({ passed: true }),
  getRoleName: async (role) => role,
});
Object.assign(load("management/projects"), { getProject: async () => ({ projectId, projectNumber }) });
Object.assign(load("gcp/cloudtasks"), {
  enqueueTask: async (queue, { httpRequest }) =>
    void tasks.push({ queue, ...httpRequest, body: atob(httpRequest.body ?? "") }),
});

if (flags.includes("--ask")) {
  const answer = (kind, otherwise) => async (question) => {
    const { message = question, default: preset = otherwise } = question;
    questions.push({ kind, message, preset });
    return preset;
  };
  Object.assign(load("prompt"), {
    input: answer("input", ""),
    select: answer("select"),
    confirm: async (question) => (await answer("confirm")(question), true),
  });
}

const { Config } = load("config");
const { FirestoreApi } = load("firestore/api");
const { FunctionsEmulator } = load("emulator/functionsEmulator");
const { jobFromEndpoint } = load("gcp/cloudscheduler");
const { queueFromEndpoint } = load("gcp/cloudtasks");
const { functionFromEndpoint } = load("gcp/cloudfunctionsv2");
const { prepare } = load("deploy/functions/prepare");
const { promptForSecurityChanges } = load("deploy/functions/prompts");
const { executeLifecycleHooks } = load("deploy/functions/release/lifecycle");
const { createDeploymentPlan } = load("deploy/functions/release/planner");
const { loadCJSON } = load("loadCJSON");
const firebaseJson = loadCJSON(join(projectDir, "firebase.json"));
const codebase = "chatsync";
const functions = firebaseJson.functions.find((one) => one.codebase === codebase);

const byName = (make, wanted) =>
  Promise.all(wanted.map(async (one) => [one.id, await make(one)])).then(Object.fromEntries);

async function deploy() {
  for (const { indexes } of [firebaseJson.firestore].flat().filter((one) => one.indexes)) {
    new FirestoreApi().validateSpec(loadCJSON(join(projectDir, indexes)));
  }

  const options = {
    config: new Config(firebaseJson, { projectDir }),
    projectId,
    projectNumber,
    nonInteractive: !flags.includes("--ask"),
    force: flags.includes("--force"),
    only: `functions:${codebase}`,
  };
  const context = { projectId };
  const payload = {};
  await prepare(context, options, payload);

  const { wantBackend, ...security } = payload.functions[codebase];
  const planned = { ...security, codebase, projectId, filters: context.filters, wantBackend };
  const plan = { [codebase]: await createDeploymentPlan(planned) };
  await promptForSecurityChanges(plan, options);

  const endpoints = backend.allEndpoints(wantBackend);
  for (const one of endpoints) {
    one.uri = `https://${one.id}`;
  }
  const before = endpoints.map((one) => ({ ...one, hash: "of before", state: "ACTIVE" }));
  const haveBackend = backend.of(...before);
  const again = { [codebase]: await createDeploymentPlan({ ...planned, haveBackend }) };
  await executeLifecycleHooks(wantBackend, security.haveBackend, plan, codebase, options);
  await executeLifecycleHooks(wantBackend, haveBackend, again, codebase, options);

  // The CLI removes its own at the end.
  copyFileSync(context.sources[codebase].functionsSourceV2, join(projectDir, "source.zip"));
  const { serviceAccountToCreate, rolesToAdd, secretAccessPlan } = plan[codebase];
  return {
    functions: await byName(functionFromEndpoint, endpoints),
    queues: await byName(queueFromEndpoint, endpoints.filter(backend.isTaskQueueTriggered)),
    jobs: await byName(
      (one) => jobFromEndpoint({ ...one, uri: "https://function" }, one.region, projectNumber),
      endpoints.filter(backend.isScheduleTriggered),
    ),
    apis: [...apis].sort(),
    requiredAPIs: wantBackend.requiredAPIs,
    bindings,
    plan: { serviceAccountToCreate, rolesToAdd, secretAccessPlan },
    tasks,
  };
}

async function emulate() {
  const { source, runtime } = functions;
  const loaded = { functionsDir: join(projectDir, source), codebase, runtime, env: {}, secretEnv: [] };
  const args = { projectId, projectDir, emulatableBackends: [loaded], verbosity: "SILENT" };
  const emulator = new FunctionsEmulator(args);
  const triggers = await emulator.discoverTriggers(loaded);
  const trigger = triggers.find((one) => one.name === "createStreamUser");
  return { triggers, environment: emulator.getRuntimeEnvs(loaded, trigger) };
}

// Some of the CLI's timers would go on.
(flags.includes("--emulators") ? emulate() : deploy()).then(
  (result) => {
    const all = JSON.stringify({ ...result, started, questions });
    writeFileSync(join(projectDir, "result.json"), all);
    process.exit(0);
  },
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
