const CALLS = 3;
const LONGEST_PAUSE = 60;
const WORTH_IT = ["unavailable", "resource-exhausted", "deadline-exceeded"];
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Makes a call; repeats it after a pause of up to a minute if that can help. */
export async function callAgain(call, pause = sleep) {
  for (let attempt = 1; ; attempt++) {
    try {
      return (await call()).data;
    } catch (error) {
      const seconds = error.details?.retryAfterSeconds ?? 2 * attempt;
      const isWorthIt = WORTH_IT.includes(error.code?.replace("functions/", ""));
      if (!isWorthIt || attempt === CALLS || seconds > LONGEST_PAUSE) {
        throw error;
      }
      await pause(seconds);
    }
  }
}
