import { describe, expect, it } from 'vitest';
import { commandLine, redactText } from '../../../src/audit/ocsf/command-line.ts';

describe('commandLine', () => {
  it.each<[readonly string[], string]>([
    [[], ''],
    [['/bin/ls', '-l', '/tmp'], '/bin/ls -l /tmp'],
    [['sh', '-c', 'echo "a b"'], `sh -c 'echo "a b"'`],
    [['echo', "it's"], `echo 'it'\\''s'`],
    [['echo', ''], `echo ''`],
    [['echo', '$(id)', 'a;b'], `echo '$(id)' 'a;b'`],
    [['curl', 'https://host/path'], 'curl https://host/path'],
    [['ssh', '-p', '22', 'host'], 'ssh -p 22 host'],
    [['git', 'commit', '-m', 'pass the ball'], `git commit -m 'pass the ball'`],
  ])('%j', (argv, line) => expect(commandLine(argv)).toBe(line));
});

const SECRET = 'hunter2hunter2hunter2';
describe('a secret does not reach the record', () => {
  it.each<readonly string[]>([
    ['tool', `--password=${SECRET}`],
    ['tool', '--password', SECRET],
    ['tool', '--api-key', SECRET],
    ['tool', '-token', SECRET],
    ['tool', `--auth-token=${SECRET}`, 'x'],
    ['env', `GITHUB_TOKEN=${SECRET}`, 'tool'],
    ['env', `DB_PASSWORD=${SECRET}`],
    ['curl', '-u', `me:${SECRET}`, 'https://host/'],
    ['curl', '--user', `me:${SECRET}`],
    ['curl', `https://me:${SECRET}@host/path`],
    ['curl', `https://${SECRET}@host/path`],
    ['curl', `https://me:a@${SECRET}@host/path`],
    ['curl', `https://host/path?key=${SECRET}`],
    ['curl', `https://host/path#${SECRET}`],
    ['curl', '-H', `Authorization: Bearer ${SECRET}`],
    ['curl', '-H', `x-api-key: ${SECRET}`],
    ['curl', '-b', `Cookie: a=${SECRET}`],
    ['sh', '-c', `curl -H 'Authorization: Bearer ${SECRET}' https://host/`],
    ['sh', '-c', `tool --password ${SECRET} --verbose`],
    ['sh', '-c', `tool --token '${SECRET} with blanks'`],
    ['sh', '-c', `export API_KEY="${SECRET}"; tool`],
    ['sh', '-c', `wget https://me:${SECRET}@host/`],
    ['tool', `{"password": "${SECRET}"}`],
    ['tool', `ghp_${SECRET}`],
    ['tool', `sk-ant-${SECRET}`],
    ['tool', `-----BEGIN RSA PRIVATE KEY-----\n${SECRET}\n`],
  ])('%j %j %j', (...argv) => {
    const line = commandLine(argv.filter((argument) => argument !== undefined));
    expect(line).not.toContain('hunter2');
    expect(line).toMatch(/\[redacted\]|…/);
  });

  it('nor does one in a message', () => {
    expect(redactText(`cannot fetch https://me:${SECRET}@host/x?y=${SECRET} today`)).toBe(
      'cannot fetch https://[redacted]@host/x?… today',
    );
  });
});

describe('an argument cannot make it slow or long', () => {
  it.each([
    ['one word', 'a'.repeat(128 * 1024)],
    ['half a URL, often', 'a://'.repeat(32 * 1024)],
    ['an option’s start, often', '--token '.repeat(16 * 1024)],
    ['names', 'password.'.repeat(14 * 1024)],
    ['an open quote', `token="${'x'.repeat(128 * 1024)}`],
    ['dots', `eyJ${'a.'.repeat(64 * 1024)}`],
  ])('%s', (_, argument) => {
    const began = performance.now();
    const line = commandLine(Array.from({ length: 64 }, () => argument));
    expect(line.length).toBeLessThan(64 * 1024);
    // Looked at whole, each of these would take seconds.
    expect(performance.now() - began).toBeLessThan(1000);
  });
});
