// Runs the Firebase CLI's Tasks emulator, which the CLI itself starts only with its Functions
// emulator. Arguments: the folder of firebase-tools, host, port.
const [folder, host, port] = process.argv.slice(2);
const { TasksEmulator } = require(`${folder}/lib/emulator/tasksEmulator`);

const emulator = new TasksEmulator({ host, port: Number(port) });
process.on("SIGINT", () => process.exit(0));
emulator.start();
