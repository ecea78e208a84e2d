import { describe, expect, it } from 'vitest';
import { createHistory, type History, type OutputName } from '../../../src/session/history.ts';
import { seededRandom } from '../random.ts';

/** Where the ring wraps, a piece ends: only the bytes and their outputs count. */
function readAll(history: History): string {
  let text = '';
  let last: OutputName | undefined;
  for (let position = history.oldest(); ; ) {
    const piece = history.read(position, 1000);
    if (piece === undefined) return last === undefined ? '' : `${text}]`;
    if (piece.to !== last) text += `${last === undefined ? '' : ']'}${piece.to === 'stdout' ? 'o' : 'e'}[`;
    last = piece.to;
    text += Buffer.from(piece.bytes).toString();
    position = piece.next;
  }
}

describe('createHistory', () => {
  it.each<[string, [OutputName, string][], string]>([
    ['nothing', [], ''],
    ['no bytes', [['stdout', '']], ''],
    ['less than it holds', [['stdout', 'abc']], 'o[abc]'],
    ['exactly what it holds', [['stdout', '01234567']], 'o[01234567]'],
    ['more at once', [['stdout', '0123456789abc']], 'o[56789abc]'],
    [
      'both outputs in order',
      [
        ['stdout', 'ab'],
        ['stderr', 'c'],
        ['stdout', 'd'],
      ],
      'o[ab]e[c]o[d]',
    ],
    [
      'the oldest goes',
      [
        ['stdout', 'abcd'],
        ['stderr', 'efgh'],
        ['stdout', 'ij'],
      ],
      'o[cd]e[efgh]o[ij]',
    ],
    [
      'whole outputs go',
      [
        ['stderr', 'ab'],
        ['stdout', 'cdefghij'],
      ],
      'o[cdefghij]',
    ],
    [
      'much more than it holds',
      [
        ['stderr', 'x'.repeat(80)],
        ['stdout', 'y'],
      ],
      'e[xxxxxxx]o[y]',
    ],
  ])('%s', (_, appends, expected) => {
    const history = createHistory(8);
    for (const [to, text] of appends) history.append(to, Buffer.from(text));
    expect(readAll(history)).toBe(expected);
  });

  it('gives copies', () => {
    const history = createHistory(4);
    history.append('stdout', Buffer.from('abcd'));
    const piece = history.read(0, 4);
    history.append('stdout', Buffer.from('efgh'));
    expect(Buffer.from(piece?.bytes ?? []).toString()).toBe('abcd');
  });

  it('forgets early what changes its output with every byte', () => {
    const history = createHistory(1_000_000);
    for (let i = 0; i < 20_000; i++)
      history.append(i % 2 ? 'stdout' : 'stderr', Buffer.of(i % 2 ? 111 : 101));
    expect(history.end() - history.oldest()).toBe(8192);
    expect(readAll(history)).toBe('e[e]o[o]'.repeat(4096));
  });

  it('agrees with the plain text over many sizes', () => {
    const random = seededRandom(7);
    const history = createHistory(64);
    let all = '';
    let names = '';
    for (let i = 0; i < 2000; i++) {
      const text = String.fromCharCode(97 + (i % 26)).repeat(random.below(90));
      const to = random.below(2) === 0 ? 'stdout' : 'stderr';
      history.append(to, Buffer.from(text));
      all += text;
      names += (to === 'stdout' ? 'o' : 'e').repeat(text.length);
      expect(history.end()).toBe(all.length);
      let seen = '';
      let outputs = '';
      for (let position = history.oldest(); ; ) {
        const piece = history.read(position, 1 + random.below(70));
        if (piece === undefined) break;
        seen += Buffer.from(piece.bytes).toString();
        outputs += (piece.to === 'stdout' ? 'o' : 'e').repeat(piece.bytes.length);
        position = piece.next;
      }
      expect(seen).toBe(all.slice(history.oldest()));
      expect(outputs).toBe(names.slice(history.oldest()));
      expect(seen.length).toBe(Math.min(64, all.length));
    }
  });
});
