/** What a launch in a running sandbox costs, and what it costs to give it a workspace. Both take root. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { posix } from '../../src/kernel/posix.ts';
import { confine } from '../../src/launch/confine.ts';
import { makeCell } from '../fakes/cell.ts';
import { type Contender, compare, printTable } from './harness.ts';

/** As many as a large repository with its dependencies has. */
const FILES = 200_000;
const FILES_PER_DIRECTORY = 200;
const OWNERSHIP_ROUNDS = 3;
const O_PATH = 0o10000000;

/** Each starts `true` under the same filter, rules and identity as an agent, or with a part of that. */
export async function benchLaunch(
  rounds: number,
  contender: (name: string, argv: string[]) => Contender,
): Promise<void> {
  using test = makeCell();
  console.log(`\nlaunch of true in a running sandbox, median of ${rounds} rounds in turns`);
  printTable(
    await compare(
      [
        contender('plain exec (baseline)', ['/bin/true']),
        contender('setpriv, uid and no_new_privs', [
          ...[
            'setpriv',
            '--reuid=20001',
            '--regid=20001',
            '--clear-groups',
            '--no-new-privs',
            '--bounding-set=-all',
          ],
          'true',
        ]),
        contender('bwrap --unshare-net', [
          ...['bwrap', '--unshare-net', '--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', 'true'],
        ]),
        {
          name: 'castellan-launch, mount view and filters',
          async once() {
            const process = await test.launcher.launch(confine(test.cell, { argv: ['/bin/true'] }), {
              kind: 'pipes',
            });
            if (process.io.kind === 'pipes')
              for (const stream of [process.io.stdout, process.io.stderr]) stream.resume();
            await process.exited;
          },
        },
      ],
      rounds,
    ),
  );
}

/** Every round finds all files another's, so each contender does all of the work each time. */
export async function benchOwnership(): Promise<void> {
  const tree = mkdtempSync(join(tmpdir(), 'castellan-bench-own-'));
  try {
    execFileSync('python3', [
      '-c',
      `import os,sys
for d in range(${FILES / FILES_PER_DIRECTORY}):
    p = '%s/d%d' % (sys.argv[1], d); os.mkdir(p)
    for f in range(${FILES_PER_DIRECTORY}): open('%s/f%d' % (p, f), 'w').close()`,
      tree,
    ]);
    let owner = 30_000;
    console.log(
      `\nownership of ${FILES} files on ${availableParallelism()} CPUs, median of ${OWNERSHIP_ROUNDS} rounds in turns`,
    );
    printTable(
      await compare(
        [
          {
            name: 'chown -R (baseline)',
            async once() {
              owner += 1;
              const child = spawn('chown', ['-R', '-h', `${owner}:${owner}`, tree], { stdio: 'inherit' });
              await once(child, 'exit');
            },
          },
          { name: 'castellan', once: () => own(tree, ++owner) },
          { name: 'castellan, where nothing is to be done', once: () => own(tree, owner) },
        ],
        OWNERSHIP_ROUNDS,
      ),
    );
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

async function own(tree: string, id: number): Promise<void> {
  const descriptor = openSync(tree, O_PATH);
  try {
    const { failure } = await posix().ownTree(descriptor, id, id, availableParallelism(), 0);
    if (failure !== undefined) throw new Error(`${failure.code} at ${failure.path}`);
  } finally {
    closeSync(descriptor);
  }
}
