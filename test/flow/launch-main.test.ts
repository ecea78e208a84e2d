import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type IPty, spawn as spawnTerminal } from 'node-pty';
import { afterEach, describe, expect, it } from 'vitest';
import { AGENT_UID, isRoot } from '../fakes/cell.ts';

const FIXTURE = join(import.meta.dirname, '../fakes/main-process.ts');

describe.skipIf(!isRoot)('the main process (needs root)', () => {
  it('has the streams of the supervisor where they are no terminal', async () => {
    const child = spawn(
      process.execPath,
      [FIXTURE, '/bin/sh', '-c', 'id -u; cat; echo "$GIVEN$TERM" >&2; exit 4'],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    );
    child.stdin.end('input\n');
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'exit'),
    ]);
    expect({ stdout, stderr, code }).toEqual({ stdout: `${AGENT_UID}\ninput\n`, stderr: 'yes\n', code: 4 });
  });

  describe('on a terminal', () => {
    let terminal: IPty | undefined;
    afterEach(() => terminal?.kill('SIGKILL'));

    /** Runs the fixture from a shell on a terminal, which afterwards says how it left the terminal. */
    function start(script: string) {
      const shell = `before=$(stty -g); "$0" "$1" /bin/sh -c "$2"; echo "code=$?"; [ "$(stty -g)" = "$before" ] && echo restored; echo "outer=$(tty)"`;
      const env = { PATH: process.env['PATH'], TERM: 'vt220' };
      const opened = spawnTerminal('/bin/sh', ['-c', shell, process.execPath, FIXTURE, script], {
        cols: 90,
        rows: 30,
        env,
      });
      terminal = opened;
      let seen = '';
      opened.onData((data) => {
        seen += data;
      });
      const ended = new Promise<string[]>((resolve) => opened.onExit(() => resolve(seen.split('\r\n'))));
      return {
        terminal: opened,
        ended,
        until: (words: string) => expect.poll(() => seen, { timeout: 20_000 }).toContain(words),
      };
    }

    it('gets one of its own, and leaves the operator theirs as it was', async () => {
      const { terminal, ended, until } = start(
        'stty size; echo $TERM; tty; echo ready; read -r line; echo "got $line"; stty size; exit 5',
      );
      await until('ready');
      terminal.resize(100, 40);
      terminal.write('words\r');
      const lines = await ended;
      expect(lines.slice(0, 2)).toEqual(['30 90', 'vt220']);
      expect(lines.slice(3)).toEqual([
        'ready',
        'words',
        'got words',
        '40 100',
        'code=5',
        'restored',
        expect.stringMatching(/^outer=/),
        '',
      ]);
      expect(lines[2]).toMatch(/^\/dev\/pts\/\d+$/);
      expect(lines).not.toContain(`outer=${lines[2]}`);
    });

    it('passes keys on as keys, so that Ctrl-C is for the command', async () => {
      const { terminal, ended, until } = start(
        'trap "echo caught; exit 9" INT; echo ready; while :; do sleep 0.05; done',
      );
      await until('ready');
      terminal.write('\x03');
      const lines = await ended;
      expect(lines.join('\n')).toContain('caught\ncode=9\nrestored');
    });

    it('shows all output before it ends', async () => {
      const { ended } = start('head -c 500000 /dev/zero | tr "\\0" x; exit 0');
      const lines = await ended;
      expect(lines[0]).toBe(`${'x'.repeat(500_000)}code=0`);
    });
  });
});
