import { describe, expect, it } from 'vitest';
import { mainProcessSpec, parseMainProcessSpec } from '../../../src/config/main-process-spec.ts';

const OURS = 'CASTELLAN_MAIN_PROCESS_SPEC';
const THEIRS = 'OPENSHELL_MAIN_PROCESS_SPEC';
const LS = '{"version":1,"command":["ls"],"tty":false}';
const encoded = (json: string) => `base64url:${Buffer.from(json).toString('base64url')}`;

describe('parseMainProcessSpec', () => {
  it.each([
    [LS, ['ls'], false],
    ['{"tty":true,"command":["a","","b c"],"version":1}', ['a', '', 'b c'], true],
    ['{"version":1,"command":["a"]}', ['a'], false],
    [' {"version":1,"command":["ä","\\u00e4"],"tty":false}\n', ['ä', 'ä'], false],
    [encoded(LS), ['ls'], false],
    [encoded('{"version":1,"command":["??>"],"tty":true}'), ['??>'], true],
  ])('%s', (text, command, tty) => {
    expect(parseMainProcessSpec(OURS, text)).toEqual({ command, tty, ...{ version: 1 } });
  });

  it.each([
    ['', /is empty/],
    ['ls', /is not JSON/],
    ['null', /Expected/],
    ['[]', /version/],
    ['{"command":["ls"],"tty":false}', /version/],
    ['{"version":2,"command":["ls"],"tty":false}', /at version/],
    ['{"version":"1","command":["ls"],"tty":false}', /at version/],
    ['{"version":1,"tty":false}', /command/],
    ['{"version":1,"command":[],"tty":false}', /command/],
    ['{"version":1,"command":"ls","tty":false}', /command/],
    ['{"version":1,"command":[""],"tty":false}', /empty word/],
    ['{"version":1,"command":[1],"tty":false}', /command\.0/],
    ['{"version":1,"command":["ls","\\u0000"],"tty":false}', /NUL/],
    ['{"version":1,"command":["ls"],"tty":"yes"}', /at tty/],
    ['{"version":1,"command":["ls"],"tty":null}', /at tty/],
    ['{"version":1,"command":["ls"],"tty":false,"workdir":"/"}', /workdir/],
    [`{"version":1,"command":["${'x'.repeat(128 * 1024)}"],"tty":false}`, /longer than/],
    [JSON.stringify({ version: 1, command: Array(4097).fill('x') }), /more than 4096 words/],
    [`${encoded(LS)}=`, /without padding/],
    ['base64url:', /is empty/],
    ['base64url:a+b/', /without padding/],
    [`base64url:${Buffer.from([0x22, 0xff, 0x22]).toString('base64url')}`, /not UTF-8/],
    [encoded('ls'), /not JSON/],
    [`BASE64URL:${Buffer.from(LS).toString('base64url')}`, /not JSON/],
  ])('refuses %.60s', (text, message) => {
    const refused = () => parseMainProcessSpec(THEIRS, text);
    expect(refused).toThrow(expect.objectContaining({ code: 'usage', object: THEIRS }));
    expect(refused).toThrow(message);
    expect(refused).toThrow(new RegExp(`^${THEIRS}`));
  });
});

describe('mainProcessSpec', () => {
  it('takes either variable, and both when they agree', () => {
    expect(mainProcessSpec({})).toBeUndefined();
    for (const environment of [{ [OURS]: LS }, { [THEIRS]: LS }, { [OURS]: LS, [THEIRS]: LS }])
      expect(mainProcessSpec(environment)).toMatchObject({ command: ['ls'] });
  });

  it('refuses two that differ, and an empty one', () => {
    const other = LS.replace('ls', 'id');
    expect(() => mainProcessSpec({ [OURS]: LS, [THEIRS]: other })).toThrow(/both set and differ/);
    expect(() => mainProcessSpec({ [OURS]: LS, [THEIRS]: '' })).toThrow(/both set and differ/);
    expect(() => mainProcessSpec({ [OURS]: '' })).toThrow(/is empty/);
  });
});
