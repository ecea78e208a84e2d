import { POLICY_SCHEMA } from '../policy/schema.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan policy schema`: the language for editors. */
export const verb: Verb = async (_command, { stdout }) => {
  printJson(stdout, POLICY_SCHEMA);
  return 0;
};
