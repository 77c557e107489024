// Reads a function manifest as JSON and writes, by name, the functions that `firebase deploy`
// would create from it. It runs the CLI's own code up to the first call to Google.

const { readFileSync } = require("node:fs");

const cli = "../../node_modules/firebase-tools/lib";
const backend = require(`${cli}/deploy/functions/backend`);
const { resolveBackend } = require(`${cli}/deploy/functions/build`);
const { buildFromV1Alpha1 } = require(`${cli}/deploy/functions/runtimes/discovery/v1alpha1`);
const { serviceForEndpoint } = require(`${cli}/deploy/functions/services`);
const { endpointsAreValid } = require(`${cli}/deploy/functions/validate`);
const { functionFromEndpoint } = require(`${cli}/gcp/cloudfunctionsv2`);

const projectId = "demo-chatsync";

// What functions/.env would hold: every parameter's default, and a value for those without.
function userEnvs(params) {
  const values = params
    .filter((param) => param.type !== "secret")
    .map(({ name, default: value = "test" }) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]);
  return Object.fromEntries(values);
}

async function main() {
  const manifest = JSON.parse(readFileSync(0, "utf8"));
  const build = buildFromV1Alpha1(manifest, projectId, "us-central1", "python311");
  const { backend: want } = await resolveBackend({
    build,
    firebaseConfig: { projectId },
    userEnvs: userEnvs(build.params),
    nonInteractive: true,
    isEmulator: true, // Otherwise it looks for the secrets in Secret Manager.
  });
  endpointsAreValid(want, backend.empty());

  const functions = {};
  for (const endpoint of backend.allEndpoints(want)) {
    const service = serviceForEndpoint(endpoint);
    // Firestore's service asks Google for the database's region.
    if (service.name !== "firestore") {
      await service.ensureTriggerRegion(endpoint);
    }
    functions[endpoint.id] = functionFromEndpoint(endpoint);
  }
  console.log(JSON.stringify(functions));
}

main();
