import { describe, expect, it } from 'vitest';
import { BINARY_IDENTITIES } from '../../../src/config/pod.ts';
import { describeRbac } from '../../../src/kubernetes/rbac.ts';
import { parseSandboxRequest } from '../../../src/kubernetes/read-request.ts';
import { renderSandbox } from '../../../src/kubernetes/render.ts';
import { requiredScc } from '../../../src/kubernetes/scc.ts';
import { INSTALL_METHODS, TOPOLOGIES } from '../../../src/kubernetes/supervisor.ts';
import { at } from '../../../src/lib/json.ts';
import { supervised } from './pods.ts';

const spec = { containers: [{ name: 'agent', command: ['agent'] }] };

describe('RBAC of a pod', () => {
  it.each([
    ['nothing for restricted-v2', { spec }, 'nothing'],
    [
      'the SCC of numbers outside of the namespace’s',
      { spec: { ...spec, securityContext: { runAsUser: 1000 }, serviceAccountName: 'agents' } },
      'service account agents has to be allowed to use the SCC nonroot-v2, on OpenShift; nothing else',
    ],
    [
      'the SCC of its own, for everybody’s account',
      supervised({ topology: 'sidecar' }),
      'service account default (better one of its own than that of every pod) has to be allowed to use the SCC of its own, on OpenShift; nothing else',
    ],
  ])('%s', (_, pod, text) => expect(describeRbac(pod, requiredScc(pod))).toBe(text));

  const render = (lines: string, withScc = true, install = 'copy') =>
    renderSandbox(
      parseSandboxRequest(
        `name: a\nimage: a:1\ncommand: [a]\ncastellan: { image: castellan:1, install: ${install} }\npolicy: { config_map: p }\n${lines}`,
        'r',
      ),
      { namespace: { kind: 'unknown' }, kind: 'Pod', withScc },
    );
  const kinds = (lines: string, withScc?: boolean) =>
    render(lines, withScc).documents.map((document) => document['kind']);

  it.each([
    [
      'where the namespace is known',
      'namespace: n',
      true,
      ['SecurityContextConstraints', 'Role', 'RoleBinding', 'Pod'],
    ],
    ['where it is not', '', true, ['SecurityContextConstraints', 'Pod']],
    ['where nobody asks', 'namespace: n', false, ['Pod']],
    ['where the platform chooses the number', 'namespace: n\nidentity: platform', true, ['Pod']],
  ])('is printed %s', (_, lines, withScc, want) => expect(kinds(lines, withScc)).toEqual(want));

  it('is for one SCC and one account', () => {
    const { documents } = render('namespace: n\nservice_account: agents\ntopology: sidecar');
    const [scc, role, binding] = documents;
    const name = 'castellan-render-sidecar';
    expect(scc).toMatchObject({ metadata: { name }, users: [], groups: [] });
    expect(role).toMatchObject({
      metadata: { namespace: 'n' },
      rules: [{ resourceNames: [name], verbs: ['use'] }],
    });
    expect(binding).toMatchObject({
      metadata: { namespace: 'n' },
      roleRef: { kind: 'Role', name: `use-${name}` },
      subjects: [{ kind: 'ServiceAccount', name: 'agents', namespace: 'n' }],
    });
  });

  it('is for an SCC whose name tells what it allows: another request’s would widen it, or narrow it', () => {
    const sccs = TOPOLOGIES.flatMap((topology) =>
      BINARY_IDENTITIES.flatMap((identity) =>
        INSTALL_METHODS.flatMap((install) => {
          if (topology === 'combined' && identity !== 'process') return [];
          const lines = `topology: ${topology}\nbinary_identity: ${identity}\ncredentials: keys\n`;
          const { metadata, ...allows } = render(lines, true, install).documents[0] ?? {};
          return [[String(at(metadata, 'name')), JSON.stringify(allows)] as const];
        }),
      ),
    );
    const names = new Set(sccs.map(([name]) => name));
    expect(names.size).toBe(new Set(sccs.map(([, allows]) => allows)).size);
    expect(new Map(sccs).size).toBe(new Set(sccs.map(String)).size);
  });

  it('is told where it is left out', () => {
    const told = /^Role and RoleBinding are left out/;
    expect(render('').remarks).toContainEqual(expect.stringMatching(told));
    for (const { remarks } of [render('namespace: n'), render('', false), render('identity: platform')])
      expect(remarks).not.toContainEqual(expect.stringMatching(told));
  });
});
