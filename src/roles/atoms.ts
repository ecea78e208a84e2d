/** What messages between the roles are made of. */
import * as v from 'valibot';
import { FACT_LIMITS } from '../policy/fact-limits.ts';

export const limitedText = (length: number) => v.pipe(v.string(), v.maxLength(length));
/** A list of no more items. */
export const atMost = <Item extends v.GenericSchema>(length: number, item: Item) =>
  v.pipe(v.array(item), v.maxLength(length));

export const text = limitedText(FACT_LIMITS.text);
export const host = limitedText(FACT_LIMITS.host);
export const path = limitedText(FACT_LIMITS.path);
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
export const port = v.pipe(count, v.maxValue(65_535));
export const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
export const operationType = v.picklist(['query', 'mutation', 'subscription']);
