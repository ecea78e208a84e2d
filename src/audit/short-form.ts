import { escapeText } from '../lib/escape.ts';
import type { OcsfEvent } from './ocsf/base.ts';

const TAGS: Readonly<Record<number, string>> = {
  1001: 'FILE',
  1007: 'PROC',
  1008: 'AUDIT',
  2004: 'FINDING',
  4001: 'NET',
  4002: 'HTTP',
  4003: 'DNS',
  4007: 'SSH',
  5019: 'CONFIG',
  6002: 'LIFE',
  6003: 'MODEL',
  6008: 'FAULT',
};

const SEVERITY_MARKS: Readonly<Record<number, string>> = {
  1: 'info',
  2: 'low',
  3: 'med',
  4: 'HIGH',
  5: 'CRIT',
};
/** ANSI: dim, plain, yellow, red, bold red. */
const COLOURS: Readonly<Record<number, string>> = { 1: '2', 2: '0', 3: '33', 4: '31', 5: '1;31' };
const MAX_FIELD = 256;

/**
 * One event as one line for a person: when, what kind, how bad, the action, who, by which rule, what, and why. Every
 * field is escaped and bounded where it is put in, so that no name an agent chose can end the line, start another, or
 * talk to the terminal. What an agent can put blanks into comes quoted, or last.
 */
export function shortForm(event: OcsfEvent, options: { readonly colour: boolean }): string {
  const { time, class_uid, severity_id, action, message, status_detail } = event;
  const who = processName(event);
  const rule = textAt(event, 'firewall_rule', 'name');
  const fields = [
    new Date(time).toISOString(),
    (TAGS[class_uid] ?? String(class_uid)).padEnd(7),
    (SEVERITY_MARKS[severity_id] ?? '?').padEnd(4),
    action?.toUpperCase(),
    who && word(who),
    rule && `[rule ${word(rule)}]`,
    escapeText(message, MAX_FIELD),
    status_detail && `(${escapeText(status_detail, MAX_FIELD)})`,
  ];
  const line = fields.filter((field) => field).join(' ');
  return options.colour ? `\u001b[${COLOURS[severity_id] ?? '0'}m${line}\u001b[0m` : line;
}

/** The program that a connection belongs to; castellan as actor goes without saying. */
function processName(event: OcsfEvent): string | undefined {
  const path = textAt(event, 'actor', 'process', 'path');
  return path === undefined ? undefined : `${path}[${textAt(event, 'actor', 'process', 'pid') ?? '?'}]`;
}

function textAt(event: OcsfEvent, ...names: readonly string[]): string | undefined {
  let value: unknown = event;
  for (const name of names) value = (value as Readonly<Record<string, unknown>> | undefined)?.[name];
  return value === undefined ? undefined : String(value);
}

/** Quoted where it would not read as one word. */
function word(text: string): string {
  const escaped = escapeText(text, MAX_FIELD);
  return /[\s"]/.test(escaped) ? `"${escaped.replaceAll('"', '\\"')}"` : escaped;
}
