import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import { createSealedNamespace, type SealedNamespace } from '../kernel/sealed-namespace.ts';
import { findTool } from '../kernel/tools.ts';

/**
 * Makes the sealed namespace of a run; rootless runs make a user namespace first, which gives the right to.
 * @throws CastellanError `namespace_failed`, `privilege_missing`, `install_incomplete`
 */
export async function makeNamespace(
  config: RunConfig,
  install: InstallPaths,
  interfaceName: string,
  report: Report,
): Promise<SealedNamespace> {
  const userNamespace = config.mode === 'rootless';
  const [ip, nft] = await Promise.all([findTool('ip'), findTool('nft')]);
  const namespace = await createSealedNamespace({
    userNamespace,
    helper: install.netnsHelper,
    ip,
    nft,
    interfaceName,
  });
  if (userNamespace)
    report({ kind: 'control-applied', control: 'user-namespace', detail: 'maps the caller only' });
  report({
    kind: 'control-applied',
    control: 'sealed-namespace',
    detail: `net:[${namespace.inode}], interface ${interfaceName}`,
  });
  return namespace;
}
