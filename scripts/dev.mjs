// Keeps the Worker and a printing origin up, until Ctrl-C.

import { printLines, startListener } from "../pkg/src/cli/listen.js";
import { sample } from "../pkg/src/cli/trigger.js";
import { devSecrets, startWorker } from "./lib/worker.mjs";

const secrets = devSecrets();
const keys = [{ id: "local", secret: secrets.LOCAL_SIGNING_KEY }];
const origin = await startListener({ port: 8788, keys, onRequest: (entry) => printLines(entry, { showData: true }) });
const port = Number(process.env.PORT ?? 8787);
const worker = await startWorker({ port, args: ["--config", "wrangler.dev.toml", "--persist-to", ".rxgate/dev"], log: (text) => process.stdout.write(text) });

console.log(`
The Worker is at ${worker.url}, its origin at http://127.0.0.1:${origin.port}. Ctrl-C ends both. In another shell:

body='${sample("osigu", "dispensing.completed").body}'
key='${secrets.OSIGU_SANDBOX_KEY}'
t=$(date +%s)
v1=$(printf '%s.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$key" -hex | sed 's/.* //')
curl -i ${worker.url}/hooks/osigu-sandbox -H 'content-type: application/json' -H "x-osigu-signature: t=$t,v1=$v1" --data-binary "$body"

Or any event of any sender, such as a whole life:

OSIGU_SECRET=$key scripts/run pkg/src/cli/main.js trigger osigu --scenario dispense --to ${worker.url}/hooks/osigu-sandbox
`);

const end = async () => {
  await worker.stop();
  await origin.close();
  process.exit(0);
};
process.on("SIGINT", end);
process.on("SIGTERM", end);
