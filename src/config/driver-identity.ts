/** Whom the platform that made the container wants the sandbox to run as. It tells by environment variables. */
import { CastellanError } from '../errors.ts';
import { MAX_ID, parseId } from '../lib/id.ts';
import { type Environment, readSpellings, type SetVariable, type VariableName } from './variables.ts';

/**
 * What a platform may inject: everything but root. To the kernel no other number is special; images have accounts of their own far
 * below 1000, and clusters may allocate above two thousand million. A narrower range would only stop pods that are right.
 */
export const MIN_DRIVER_ID = 1;
export const MAX_DRIVER_ID = MAX_ID;

export type DriverIdentity =
  | { readonly kind: 'ids'; readonly uid: number; readonly gid: number }
  /** The USER of the image: `name`, `uid`, `name:group` or `uid:gid`; empty where the image declares none. */
  | { readonly kind: 'image-user'; readonly text: string };

/**
 * Reads the platform's choice; undefined when it made none.
 * @throws CastellanError `identity_invalid` for half a pair, two spellings or two kinds that contradict, or a number out of range
 */
export function readDriverIdentity(variables: Environment): DriverIdentity | undefined {
  const uid = readId(variables, 'SANDBOX_UID');
  const gid = readId(variables, 'SANDBOX_GID');
  const user = readOne(readSpellings(variables, 'OCI_IMAGE_USER'));
  if (uid === undefined && gid === undefined)
    return user === undefined ? undefined : { kind: 'image-user', text: user.value };
  if (uid === undefined) throw refused(`${gid?.name} is set without SANDBOX_UID`, gid?.name);
  if (gid === undefined) throw refused(`${uid.name} is set without SANDBOX_GID`, uid.name);
  // Drivers that give numbers clear an image's declaration by setting it to nothing.
  if (user !== undefined && user.value !== '')
    throw refused(`${uid.name} and ${user.name} both say whom to run as`, user.name);
  return { kind: 'ids', uid: uid.value, gid: gid.value };
}

function readId(
  variables: Environment,
  variable: VariableName,
): { readonly name: string; readonly value: number } | undefined {
  // Drivers that leave the choice to the image clear the numbers by setting them to nothing.
  const found = readOne(readSpellings(variables, variable).filter(({ value }) => value !== ''));
  if (found === undefined) return undefined;
  const { name, value: text } = found;
  const value = parseId(text);
  if (value === undefined) throw refused(`${name} is not a decimal number`, text);
  if (value < MIN_DRIVER_ID || value > MAX_DRIVER_ID)
    throw refused(`${name} ${text} is outside ${MIN_DRIVER_ID} to ${MAX_DRIVER_ID}`, text);
  return { name, value };
}

function readOne([first, second]: readonly SetVariable[]): SetVariable | undefined {
  if (first !== undefined && second !== undefined && first.value !== second.value)
    throw refused(`${first.name} and ${second.name} contradict each other`, second.name);
  return first;
}

function refused(message: string, object: string | undefined): CastellanError {
  return new CastellanError('identity_invalid', message, {
    step: 'identity',
    ...(object !== undefined && { object }),
    remedy: 'set SANDBOX_UID and SANDBOX_GID together, or neither',
  });
}
