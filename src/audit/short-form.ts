import { escapeText } from '../lib/escape.ts';
import type { OcsfEvent } from './ocsf/base.ts';

const TAGS: Readonly<Record<number, string>> = {
  1001: 'FILE', 1007: 'PROC', 1008: 'AUDIT', 2004: 'FINDING', 4001: 'NET', 4002: 'HTTP', 4003: 'DNS', 4007: 'SSH', 5019: 'CONFIG', 6002: 'LIFE', 6008: 'FAULT',
}; // biome-ignore format: one table

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
 * One event as one line for a person. Every field is escaped and bounded where it is put in, so that no name an agent
 * chose can end the line, start another, or talk to the terminal.
 */
export function shortForm(event: OcsfEvent, options: { readonly colour: boolean }): string {
  const who = processName(event);
  const fields = [
    new Date(event.time).toISOString(),
    (TAGS[event.class_uid] ?? String(event.class_uid)).padEnd(7),
    (SEVERITY_MARKS[event.severity_id] ?? '?').padEnd(4),
    ...(event.action === undefined ? [] : [event.action.toUpperCase()]),
    ...(who === undefined ? [] : [escapeText(who, MAX_FIELD)]),
    escapeText(event.message, MAX_FIELD),
    ...(event.status_detail === undefined ? [] : [`(${escapeText(event.status_detail, MAX_FIELD)})`]),
  ];
  const line = fields.join(' ');
  return options.colour ? `\u001b[${COLOURS[event.severity_id] ?? '0'}m${line}\u001b[0m` : line;
}

/** The program that a connection belongs to; castellan as actor goes without saying. */
function processName({ actor }: OcsfEvent): string | undefined {
  const process = (actor as { process?: { path?: string; name?: string; pid?: number } } | undefined)
    ?.process;
  return process?.path === undefined ? undefined : `${process.path}[${process.pid ?? '?'}]`;
}
