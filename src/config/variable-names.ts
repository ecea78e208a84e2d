/** Variables that make an interpreter or the loader run other code before the command's own, or that are castellan's own. */
const CODE_LOADING =
  /^(LD_.*|BASH_ENV|BASH_FUNC_.*|ENV|SHELLOPTS|BASHOPTS|PS4|NODE_OPTIONS|PYTHONSTARTUP|PERL5OPT|RUBYOPT|CASTELLAN|(CASTELLAN|OPENSHELL)_MAIN_PROCESS_SPEC)$/;

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

/** Why no program may be given a variable of that name; undefined where it may. */
export function problemOfVariableName(name: string): string | undefined {
  if (!NAME.test(name)) return 'not a variable name';
  return CODE_LOADING.test(name) ? 'this variable makes programs load code, or is reserved' : undefined;
}
