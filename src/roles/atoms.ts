/** What messages between the roles are made of. */
import * as v from 'valibot';

/** The longest path of a request head (16 KiB) and every sentence of ours fit; nothing longer belongs in a record. */
export const MAX_TEXT = 16 * 1024;
export const MAX_HOST = 255;
/** PATH_MAX of Linux. */
const MAX_PATH = 4096;

export const text = v.pipe(v.string(), v.maxLength(MAX_TEXT));
export const host = v.pipe(v.string(), v.maxLength(MAX_HOST));
export const path = v.pipe(v.string(), v.maxLength(MAX_PATH));
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const port = v.pipe(count, v.maxValue(65_535));
export const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
export const operationType = v.picklist(['query', 'mutation', 'subscription']);
