import type { Frame } from './profile.ts';

const WIDTH = 1800;
const ROW = 16;
const TITLE_ROWS = 2;
/** What is narrower cannot be seen. */
const MIN_WIDTH = 0.5;
const CHARACTER = 6.2;

/** Draws towers of frames, one below the other on one scale, as SVG: the wider, the more time; what called is below what was called. */
export function flameGraph(title: string, towers: readonly Frame[]): string {
  const scale = WIDTH / Math.max(...towers.map(({ total }) => total));
  let top = TITLE_ROWS * ROW;
  const parts: string[] = [`<text x="4" y="${ROW}">${escapeXml(title)}</text>`];
  for (const tower of towers) {
    const height = depthOf(tower, scale) * ROW;
    parts.push(...drawFrame(tower, 0, top + height - ROW, scale));
    top += height + ROW;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${top}" font-family="monospace" font-size="10">`,
    '<rect width="100%" height="100%" fill="#fffdf8"/>',
    ...parts,
    '</svg>\n',
  ].join('\n');
}

function depthOf(frame: Frame, scale: number): number {
  if (frame.total * scale < MIN_WIDTH) return 0;
  return 1 + Math.max(0, ...[...frame.below.values()].map((next) => depthOf(next, scale)));
}

function drawFrame(frame: Frame, left: number, top: number, scale: number): string[] {
  const width = frame.total * scale;
  if (width < MIN_WIDTH) return [];
  const label = `${frame.name} (${frame.total.toFixed(1)} ms)`;
  const shown = label.slice(0, Math.floor(width / CHARACTER));
  const box = `x="${left.toFixed(1)}" y="${top}" width="${width.toFixed(1)}" height="${ROW - 1}"`;
  const parts = [
    `<g><title>${escapeXml(label)}</title><rect ${box} fill="${colourOf(frame.name)}"/>`,
    `<text x="${(left + 2).toFixed(1)}" y="${top + ROW - 5}">${shown.length > 2 ? escapeXml(shown) : ''}</text></g>`,
  ];
  let next = left;
  for (const below of [...frame.below.values()].sort((a, b) => b.total - a.total)) {
    parts.push(...drawFrame(below, next, top - ROW, scale));
    next += below.total * scale;
  }
  return parts;
}

/** One colour for what is ours, others for Node, for packages and for V8 itself. */
function colourOf(name: string): string {
  if (/ src\//.test(name)) return '#f2a65a';
  if (/^\(/.test(name)) return '#c8c8c8';
  return / node:/.test(name) ? '#9ec5e8' : '#b9d99b';
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
