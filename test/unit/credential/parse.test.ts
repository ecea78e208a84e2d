import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseCredentials } from '../../../src/credential/parse.ts';
import { CastellanError } from '../../../src/errors.ts';

/** In no message, whatever is wrong. */
const SECRET = 'ghp_Secret0123456789';
const one = (entry: string) => `version: 1\ncredentials:\n  TOKEN: ${entry}\n`;

it('reads everything a credential may say', () => {
  const { credentials } = parseCredentials(
    one(
      `{ value: "${SECRET}", provider: github, prefix: xoxb-, places: [header, "header:X-Api-Key"], expires: 2027-01-31T12:00:00+01:00, endpoints: [{ host: API.github.com, path: "/repos/**" }, { host: "*.a.example", port: 8443 }] }`,
    ),
  );
  expect(credentials).toMatchObject([
    {
      name: 'TOKEN',
      value: SECRET,
      provider: 'github',
      placeholder: 'xoxb-OPENSHELL-RESOLVE-ENV-TOKEN',
      expiresAt: Date.UTC(2027, 0, 31, 11),
      endpoints: [
        { port: 443, text: 'api.github.com:443/repos/**' },
        { port: 8443, path: undefined, text: '*.a.example:8443' },
      ],
    },
  ]);
  expect([...(credentials[0]?.places ?? [])]).toEqual(['header', 'header:x-api-key']);
});

it('is content with little', () => {
  expect(parseCredentials('version: 1\n')).toEqual({ credentials: [], clientCertificates: new Map() });
  const { credentials } = parseCredentials(one(`{ value: ${SECRET}, provider: x }`));
  expect(credentials[0]).toMatchObject({
    placeholder: 'openshell:resolve:env:TOKEN',
    expiresAt: undefined,
    places: new Set(['header', 'query', 'path', 'body', 'websocket']),
  });
});

describe('refuses, and does not repeat what the file holds', () => {
  it.each([
    ['nothing', '', '1:1: the file needs "version: 1"'],
    ['another version', 'version: 2', '1:10: the file needs'],
    ['no YAML', `version: 1\ncredentials: {A: [${SECRET}`, 'no YAML that can be read'],
    ['a text in the place of a mapping', one(SECRET), '3:10: TOKEN must be a mapping'],
    ['a text in the place of credentials', `version: 1\ncredentials: ${SECRET}`, '2:14: credentials must be a mapping'],
    ['a secret for a key', `version: 1\ncredentials: {${SECRET}: {}}\n`, 'may go nowhere'],
    ['a secret for a name', 'version: 1\ncredentials: {"ghp-Secret0123456789": {}}', '2:15: the name of a credential'],
    ['a key it does not know', one(`{ ${SECRET}: 1, value: b, provider: x }`), '3:12: unknown key in TOKEN'],
    ['a misspelt one', one(`{ valeu: ${SECRET}, value: b, provider: x }`), 'unknown key in TOKEN, did you mean "value"?'],
    ['a number', one('{ value: 123456789, provider: x }'), '3:19: value of TOKEN must be a text; put it into quotes'],
    ['a list', one(`{ value: [${SECRET}], provider: x }`), 'value of TOKEN must be a text'],
    ['an empty value', one('{ value: "", provider: x }'), 'value of TOKEN is empty'],
    ['a line break', one(`{ value: "${SECRET}\\n", provider: x }`), 'write "|-"'],
    ['a NUL', one(`{ value: "${SECRET}\\0", provider: x }`), 'control character'],
    ['a space at the end', one(`{ value: "${SECRET} ", provider: x }`), 'begins or ends with a space'],
    ['a placeholder for a value', one('{ value: "openshell:resolve:env:OTHER", provider: x }'), 'has a placeholder in it'],
    ['no value', one('{ provider: x }'), 'TOKEN needs a value'],
    ['nowhere to go', one(`{ value: ${SECRET} }`), 'give it endpoints, or a provider'],
    ['any host', one(`{ value: ${SECRET}, endpoints: [{ port: 443 }] }`), 'an endpoint of TOKEN needs a host'],
    ['a top-level domain', one(`{ value: ${SECRET}, endpoints: [{ host: "*.com" }] }`), 'covers a whole top-level domain'],
    ['no port', one(`{ value: ${SECRET}, endpoints: [{ host: a.example, port: 0 }] }`), 'must be from 1 to 65535'],
    ['a relative path', one(`{ value: ${SECRET}, endpoints: [{ host: a.example, path: x }] }`), 'must begin with "/"'],
    ['a broken path', one(`{ value: ${SECRET}, endpoints: [{ host: a.example, path: "/[" }] }`), 'is no pattern'],
    ['another place', one(`{ value: ${SECRET}, provider: x, places: [cookie] }`), 'places of TOKEN are header, query'],
    ['no places', one(`{ value: ${SECRET}, provider: x, places: [] }`), 'places of TOKEN are empty'],
    ['a local time', one(`{ value: ${SECRET}, provider: x, expires: 2027-01-31T12:00:00 }`), 'must be a time such as'],
    ['no time', one(`{ value: ${SECRET}, provider: x, expires: 2027-13-41T12:00:00Z }`), 'must be a time such as'],
    ['a prefix that no header takes', one(`{ value: ${SECRET}, provider: x, prefix: "a b" }`), 'prefix of TOKEN'],
    ['the name of a revision', `version: 1\ncredentials: { v1_A: { value: ${SECRET}, provider: x } }`, 'must be that of a variable'],
    ['one name twice', `version: 1\ncredentials:\n  A: { value: ${SECRET}, provider: x }\n  A: { value: b, provider: x }`, '4:3: the text is no YAML'],
    ['half a certificate', 'version: 1\nclient_certificates: { a: { key: x } }', 'client certificate a needs'],
    ['no PEM', `version: 1\nclient_certificates: { a: { key: ${SECRET}, certificate: ${SECRET} } }`, '2:27: client certificate a:'],
  ])('%s', (_, text, message) => {
    let error: unknown;
    try {
      parseCredentials(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(CastellanError);
    expect(error).toMatchObject({ code: 'credentials_invalid', message: expect.stringContaining(message) });
    const told = `${error}${(error as CastellanError).cause}`;
    // A name of a variable is no secret; this one has the form of both.
    if (_ !== 'a secret for a key') expect(told).not.toMatch(/ghp|Secret|123456789/);
  }); // biome-ignore format: a table
});

it('client certificates and their keys have to belong together', () => {
  const directory = mkdtempSync(join(tmpdir(), 'castellan-credentials-'));
  try {
    const pair = (name: string) => {
      const at = (end: string) => join(directory, `${name}.${end}`);
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          '-newkey',
          'ec',
          '-pkeyopt',
          'ec_paramgen_curve:prime256v1',
          '-nodes',
          '-subj',
          `/CN=${name}`,
          '-keyout',
          at('key'),
          '-out',
          at('crt'),
        ],
        { stdio: 'pipe' },
      );
      return { certificate: readFileSync(at('crt'), 'utf8'), key: readFileSync(at('key'), 'utf8') };
    };
    const [a, b] = [pair('a'), pair('b')];
    const file = (certificate: string, key: string) =>
      `version: 1\nclient_certificates:\n  corp: ${JSON.stringify({ certificate, key })}\n`;
    expect(parseCredentials(file(a.certificate, a.key)).clientCertificates.get('corp')).toEqual(a);
    expect(() => parseCredentials(file(a.certificate, b.key))).toThrow('do not belong together');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
