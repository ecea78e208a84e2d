import { readFileSync } from 'node:fs';
import { serveTls } from './tls-load.ts';

const [key = '', cert = ''] = process.argv.slice(2);
await serveTls(readFileSync(key, 'utf8'), readFileSync(cert, 'utf8'));
