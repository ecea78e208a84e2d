import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { homeOf } from '../../../src/start/home.ts';

const directory = mkdtempSync(join(tmpdir(), 'castellan-home-'));
afterAll(() => rmSync(directory, { recursive: true }));
const path = (name: string) => join(directory, name);
const [account, work, file, link, missing] = ['account', 'work', 'file', 'link', 'missing'].map(path) as [
  string,
  string,
  string,
  string,
  string,
];
mkdirSync(account);
mkdirSync(work);
writeFileSync(file, '');
symlinkSync(account, link);

describe('HOME is', () => {
  it.each([
    ['the account’s', account, work, account],
    ['the account’s, through a link', link, work, link],
    ['the account’s, wherever it works', account, missing, account],
    ['the working directory, without an account', '/', work, work],
    ['the working directory, as the account’s is missing', missing, work, work],
    ['the working directory, as the account’s is a file', file, work, work],
    ['the working directory, as the account’s is relative', 'home', work, work],
    ['the working directory, as the account’s is empty', '', work, work],
    ['the working directory, as the account’s is no path', `${account}\0`, work, work],
    ['/, as both are missing', missing, missing, '/'],
    ['/, as the working directory is a file', '/', file, '/'],
    ['/, as the working directory is relative', '/', '.', '/'],
    ['/, where nothing else is named', '/', '/', '/'],
  ])('%s', async (_, of, at, expected) => expect(await homeOf(of, at)).toBe(expected));
});
