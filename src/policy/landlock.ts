import type { LandlockPolicy } from './document.ts';
import { readChoice, readFields, readInteger, readList } from './source/fields.ts';
import { type Findings, refuse } from './source/findings.ts';
import type { TreeNode } from './source/tree.ts';

const SECTION = 'landlock';
const MAX_PORT = 65_535;
/** The launcher takes as many rules, for both lists together. */
const MAX_PORTS = 512;

/** Reads the landlock section. The lists of ports are castellan's own addition to the language. */
export function readLandlock(node: TreeNode | undefined, findings: Findings): LandlockPolicy {
  const fields =
    node && readFields(node, SECTION, ['compatibility', 'bind_tcp_ports', 'connect_tcp_ports'], findings);
  const ports = (key: 'bind_tcp_ports' | 'connect_tcp_ports') => {
    const field = fields?.get(key);
    return field === undefined ? undefined : readPorts(field, `${SECTION}.${key}`, findings);
  };
  return {
    compatibility:
      readChoice(
        fields?.get('compatibility'),
        `${SECTION}.compatibility`,
        ['best_effort', 'hard_requirement'],
        findings,
      ) ?? 'best_effort',
    bindPorts: ports('bind_tcp_ports'),
    connectPorts: ports('connect_tcp_ports'),
  };
}

function readPorts(node: TreeNode, where: string, findings: Findings): number[] {
  const items = readList(node, where, findings);
  if (items.length > MAX_PORTS)
    refuse(findings, node.position, `${where} lists more than ${MAX_PORTS} ports`);
  const ports = items.map((item) => readInteger(item, `a port in ${where}`, [0, MAX_PORT], findings));
  return [...new Set(ports.filter((port) => port !== undefined))];
}
