import { VERSION, VERSION_DATE } from '../version.ts';
import { manPage } from './man-page.ts';
import type { Verb } from './verb.ts';

/** `castellan man`: the manual page, for man(1): `castellan man | man -l -`. */
export const verb: Verb = async (_, { stdout }) => {
  stdout.write(manPage(VERSION, VERSION_DATE));
  return 0;
};
