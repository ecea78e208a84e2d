import { mkdirSync, appendFileSync } from 'node:fs';
import { dirname } from 'node:path';
export async function openAudit(o: any): Promise<any> {
  mkdirSync(dirname(o.path), { recursive: true });
  const report = (fact: any) => { const l = JSON.stringify(fact) + '\n'; appendFileSync(o.path, l); if (o.stderr === 'short') process.stderr.write(l); };
  return { report, path: o.path, async flush() {}, async [Symbol.asyncDispose]() {} };
}
