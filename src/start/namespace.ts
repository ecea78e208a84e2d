import type { Report } from '../audit/event.ts';
import type { RunConfig } from '../config/config.ts';
import type { InstallPaths } from '../config/install.ts';
import { CastellanError } from '../errors.ts';
import { wayOut } from '../kernel/fence-proof.ts';
import { podNetworkInode } from '../kernel/pod-network.ts';
import { createSealedNamespace, type SealedNamespace } from '../kernel/sealed-namespace.ts';
import { findTool } from '../kernel/tools.ts';

/**
 * Makes the sealed namespace of a run, or none where a sidecar fences the network; rootless runs make a user namespace first, which gives the right to.
 * @throws CastellanError `namespace_failed`, `privilege_missing`, `install_incomplete`
 */
export async function makeNamespace(
  config: RunConfig,
  install: InstallPaths,
  interfaceName: string,
  report: Report,
): Promise<SealedNamespace | undefined> {
  if (config.pod !== undefined) {
    requireFence();
    report({
      kind: 'control-applied',
      control: 'sealed-namespace',
      detail: `none: net:[${podNetworkInode()}] is the pod’s, whose fence lets nothing of ours out`,
    });
    return undefined;
  }
  if (config.mode === 'process-only') {
    report({
      kind: 'control-degraded',
      control: 'sealed-namespace',
      reason: 'castellan was told that somebody else fences the network of this container',
      remedy: 'start without --roles process where nobody does',
    });
    return undefined;
  }
  const userNamespace = config.mode === 'rootless';
  const [ip, nft] = await Promise.all([
    findTool('ip', install.toolDirectories),
    findTool('nft', install.toolDirectories),
  ]);
  const plan = { userNamespace, helper: install.netnsHelper, ip, nft, interfaceName };
  const namespace = await createSealedNamespace(plan).catch((error: unknown) => {
    throw withoutPrivilege(error, userNamespace);
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

/** The agent will be who this process is. @throws CastellanError `namespace_failed` */
function requireFence(): void {
  const destination = wayOut();
  if (destination === undefined) return;
  throw new CastellanError(
    'namespace_failed',
    `nobody has fenced the network of the pod: a datagram left it for ${destination}`,
    {
      step: 'namespace',
      object: destination,
      remedy:
        'run castellan network-init in an init container, with the uid of the network role as --proxy-uid',
    },
  );
}

/** The helper's steps that only a missing right can fail. */
const PRIVILEGED_STEPS = ['namespace/user-namespace', 'namespace/network-namespace'];

function withoutPrivilege(error: unknown, userNamespace: boolean): unknown {
  if (!(error instanceof CastellanError) || !PRIVILEGED_STEPS.includes(error.step)) return error;
  const { step, errno } = error;
  const message = userNamespace
    ? 'neither root nor user namespaces are available here'
    : 'root may not make namespaces here: CAP_SYS_ADMIN is missing';
  return new CastellanError('privilege_missing', message, {
    step,
    object: 'namespaces',
    cause: error,
    ...(errno && { errno }),
  });
}
