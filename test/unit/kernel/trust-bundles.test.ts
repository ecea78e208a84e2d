import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { possibleJavaStores } from '../../../src/kernel/trust-bundles.ts';

test('a Java may be in any directory below those where they are put, and in none', async () => {
  const homes = mkdtempSync(join(tmpdir(), 'castellan-java-'));
  try {
    mkdirSync(join(homes, 'jdk-21'));
    const found = await possibleJavaStores([homes, join(homes, 'absent')]);
    expect(found.filter((path) => path.startsWith(homes))).toEqual([
      join(homes, 'jdk-21/lib/security/cacerts'),
      join(homes, 'jdk-21/jre/lib/security/cacerts'),
    ]);
    expect(found).toContain('/etc/ssl/certs/java/cacerts');
  } finally {
    rmSync(homes, { recursive: true });
  }
});
