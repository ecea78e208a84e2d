/** Verbs about policy files. */
import { JSON_OUTPUT, SANDBOX, type VerbDefinition } from './option.ts';

export const POLICY_VERBS = [
  {
    name: 'policy',
    synopsis: 'castellan policy FILE [--json]',
    summary: 'check a policy file and print what it means',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy lint',
    synopsis: 'castellan policy lint FILE [--json]',
    summary: 'tell every problem and notice of a policy file, with line and column',
    operands: 'one',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy explain',
    synopsis: 'castellan policy explain FILE --binary PATH --url URL [OPTIONS]',
    summary: 'tell what would become of one request, and by which rule (exit code 1: refused)',
    operands: 'one',
    options: [
      {
        name: 'binary',
        value: 'PATH',
        repeatable: true,
        help: 'the program that asks; more are its ancestors, nearest first; PATH@sha256:HEX tells its hash too',
      },
      {
        name: 'url',
        value: 'URL',
        help: 'https://host/path, http://host/path, or tcp://host:port for a connection alone',
      },
      { name: 'method', value: 'METHOD', help: 'default GET, with a body POST' },
      {
        name: 'header',
        value: 'NAME: VALUE',
        repeatable: true,
        help: 'a header of the request; with a body, JSON is the default type',
      },
      { name: 'body', value: 'FILE', help: 'the body of the request' },
      JSON_OUTPUT,
    ],
  },
  {
    name: 'policy test',
    synopsis: 'castellan policy test FILE ASSERTIONS [--json]',
    summary: 'check a policy against a file of what it has to allow and refuse (exit code 1: it does not)',
    operands: 'two',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy schema',
    synopsis: 'castellan policy schema',
    summary: 'print the language of policies as JSON Schema, for editors',
    operands: 'none',
    options: [],
  },
  {
    name: 'policy diff',
    synopsis: 'castellan policy diff OLD NEW [--json]',
    summary: 'tell what one policy grants more and less than another (exit code 1: they differ)',
    operands: 'two',
    options: [JSON_OUTPUT],
  },
  {
    name: 'policy learn',
    synopsis: 'castellan policy learn LOG… [OPTIONS]',
    summary: 'write a policy that allows what audit logs tell (exit code 1: a log does not verify)',
    operands: 'some',
    options: [
      {
        name: 'base',
        value: 'FILE',
        help: 'learn only what this policy does not allow yet, as an addition to it',
      },
      {
        name: 'include-denied',
        help: 'grant what was refused for want of a rule, instead of only telling it',
      },
      { name: 'exact', help: 'keep paths as they were seen, also where they differ only in identifiers' },
      { name: 'unverified', help: 'learn from logs whose hash chain does not verify' },
    ],
  },
  {
    name: 'policy proposals',
    synopsis: 'castellan policy proposals [--sandbox NAME | --audit-file FILE] [--json]',
    summary: 'print the rules that programs of a sandbox ask for, ready to be pasted into its policy',
    operands: 'none',
    options: [
      SANDBOX,
      { name: 'audit-file', value: 'FILE', help: 'read the log of a run that has ended' },
      JSON_OUTPUT,
    ],
  },
] as const satisfies readonly VerbDefinition[];
