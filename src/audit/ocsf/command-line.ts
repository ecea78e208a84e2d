/** A command line as a person would type it, without what people should not have typed. */

const SECRET_OPTION = /^(--?[A-Za-z0-9-]*(?:password|passwd|token|secret|api-?key|credential)s?)(?:=(.*))?$/i;
const SECRET_ASSIGNMENT = /^([A-Za-z_][A-Za-z0-9_]*(?:PASSWORD|TOKEN|SECRET|KEY|CREDENTIALS?))=/i;
const AUTHORIZATION = /^((?:proxy-)?authorization|cookie|x-api-key)\s*:/i;
const REDACTED = '[redacted]';

/** Joins argv with shell quoting; values that look like credentials, user info in URLs, and query strings are left out. */
export function commandLine(argv: readonly string[]): string {
  let hideNext = false;
  return argv
    .map((argument) => {
      if (hideNext) {
        hideNext = false;
        return REDACTED;
      }
      const option = SECRET_OPTION.exec(argument);
      if (option !== null) {
        hideNext = option[2] === undefined;
        return hideNext ? argument : `${option[1]}=${REDACTED}`;
      }
      return quote(redact(argument));
    })
    .join(' ');
}

function redact(argument: string): string {
  const assignment = SECRET_ASSIGNMENT.exec(argument);
  if (assignment !== null) return `${assignment[1]}=${REDACTED}`;
  const header = AUTHORIZATION.exec(argument);
  if (header !== null) return `${header[1]}: ${REDACTED}`;
  return argument.replaceAll(
    /\b([a-z][a-z0-9+.-]*:\/\/)([^/@\s]*@)?([^?\s#]*)(\?[^\s#]*)?/gi,
    (_, scheme, user, rest, query) =>
      `${scheme}${user === undefined ? '' : `${REDACTED}@`}${rest}${query === undefined ? '' : '?…'}`,
  );
}

function quote(argument: string): string {
  return /^[A-Za-z0-9_@%+=:,./[\]…?-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
