import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openBrowserSettings } from '../../../src/start/browser-settings.ts';

let here: string;
let image: string;
let elsewhere: string;

beforeEach(() => {
  here = mkdtempSync(join(tmpdir(), 'castellan-browser-'));
  image = join(here, 'chromium');
  elsewhere = join(here, 'elsewhere');
  mkdirSync(image);
  mkdirSync(elsewhere);
});
afterEach(() => rmSync(here, { recursive: true }));

const open = () => openBrowserSettings(join(here, 'copies'), existsSync, [image, join(here, 'absent')]);
const told = (copy: string) =>
  JSON.parse(readFileSync(join(copy, 'policies/managed/castellan.json'), 'utf8'));

test('the image’s own settings stay, with one file among them', async () => {
  mkdirSync(join(image, 'policies/managed'), { recursive: true });
  writeFileSync(join(image, 'policies/managed/own.json'), '{"HomepageLocation":"x"}');
  writeFileSync(join(image, 'master_preferences'), '{}');
  symlinkSync('/etc/passwd', join(image, 'link'));
  mkdirSync(join(image, 'sealed'));
  chmodSync(join(image, 'sealed'), 0o500);
  execFileSync('mkfifo', [join(image, 'pipe')]);
  const { places, publish } = await open();
  await publish(Buffer.from('der'));
  const copy = join(here, 'copies/chromium');
  expect(places).toEqual([{ path: image, copy }]);
  expect(readdirSync(copy).sort()).toEqual(['link', 'master_preferences', 'policies', 'sealed']);
  // Or a caller without rights could not remove the copy.
  expect(statSync(join(copy, 'sealed')).mode & 0o777).toBe(0o700);
  expect(readdirSync(join(copy, 'policies/managed')).sort()).toEqual(['castellan.json', 'own.json']);
  expect(told(copy)).toEqual({
    CACertificates: [Buffer.from('der').toString('base64')],
    EncryptedClientHelloEnabled: false,
  });
  expect(readdirSync(join(image, 'policies/managed'))).toEqual(['own.json']);
});

test('settings without policies get some', async () => {
  const { places, publish } = await open();
  await publish(Buffer.from('der'));
  expect(told(places[0]?.copy ?? '')).toEqual({
    CACertificates: ['ZGVy'],
    EncryptedClientHelloEnabled: false,
  });
  expect(readdirSync(image)).toEqual([]);
});

test.each(['policies', 'policies/managed'])(
  'nothing is written through %s where that is a link',
  async (name) => {
    if (name !== 'policies') mkdirSync(join(image, 'policies'));
    symlinkSync(elsewhere, join(image, name));
    const { places, publish } = await open();
    await publish(Buffer.from('der'));
    expect(places).toEqual([]);
    expect(readdirSync(elsewhere)).toEqual([]);
  },
);

test('nor through a file of the same name', async () => {
  mkdirSync(join(image, 'policies/managed'), { recursive: true });
  symlinkSync(join(elsewhere, 'target'), join(image, 'policies/managed/castellan.json'));
  const { places, publish } = await open();
  await publish(Buffer.from('der'));
  expect(told(places[0]?.copy ?? '')).toEqual({
    CACertificates: ['ZGVy'],
    EncryptedClientHelloEnabled: false,
  });
  expect(readdirSync(elsewhere)).toEqual([]);
});
