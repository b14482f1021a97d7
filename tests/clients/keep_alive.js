// keep_alive.js CLIENT SOCKET LANES REQUESTS PAUSES: as keep_alive.py, for `agent` (http.Agent) and `undici`, both set
// as docs/clients.md prints it.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const DOCUMENT = path.join(__dirname, '../../docs/clients.md');
const [METHOD, PATH] = ['POST', '/auth/logout'];

// What the document prints functions of these names to be.
function printed(...names) {
  const parts = fs.readFileSync(DOCUMENT, 'utf8').split('\n```js\n').slice(1);
  const blocks = parts.map(part => part.split('\n```\n')[0]);
  const [block] = blocks.filter(text => text.includes(`function ${names[0]}(`));
  return new Function('require', `${block}\nreturn [${names.join(', ')}];`)(require);
}

const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000));

// One client for each lane, so that a lane is a connection. A request resolves to its status and whether the
// connection was reused.
function makeOf(client, socketPath) {
  if (client === 'agent') {
    const [agentOf, call] = printed('agentOf', 'call');
    return () => {
      const agent = agentOf();
      const ask = async () => {
        const { status, reused } = await call(agent, socketPath, METHOD, PATH);
        return [status, reused];
      };
      return [ask, () => agent.destroy()];
    };
  }
  const [poolOf] = printed('poolOf');
  return () => {
    const pool = poolOf(socketPath);
    let [connected, seen] = [0, 0];
    pool.on('connect', () => { connected += 1; });
    const ask = async () => {
      const { statusCode, body } = await pool.request({ method: METHOD, path: PATH });
      await body.text();
      const reused = connected === seen;
      seen = connected;
      return [statusCode, reused];
    };
    return [ask, () => pool.destroy()];
  };
}

async function main() {
  const [client, socketPath, lanes, requests, list] = process.argv.slice(2);
  const pauses = JSON.parse(list);
  const make = makeOf(client, socketPath);
  const tally = { requests: 0, reused: 0, lost: [] };
  const run = async lane => {
    const [ask, close] = make();
    for (let step = 0; step < Number(requests); step += 1) {
      const pause = step === 0 ? 0 : pauses[(lane + 7 * (step - 1)) % pauses.length];
      await sleep(pause);
      tally.requests += 1;
      try {
        const [status, reused] = await ask();
        if (status >= 500) tally.lost.push(`after ${pause} s: ${status}`);
        if (reused) tally.reused += 1;
      } catch (fault) {
        tally.lost.push(`after ${pause} s: ${fault}`);
      }
    }
    await close();
  };
  await Promise.all(Array.from({ length: Number(lanes) }, (_, lane) => run(lane)));
  console.log(JSON.stringify(tally));
}

main();
