import { openSync } from 'node:fs';
import { type Credential, PLACES } from '../credential/credential.ts';
import { parseCredentials } from '../credential/parse.ts';
import { CastellanError, errnoOf } from '../errors.ts';
import { escapeText } from '../lib/escape.ts';
import { readSecretFile } from '../start/secret-files.ts';
import { printJson, type Verb } from './verb.ts';

/** `castellan credentials FILE`: valid or not, and what may go where. Tells no secret. */
export const verb: Verb = async ({ options, operands: [path = ''] }, { stdout }) => {
  const { credentials, clientCertificates } = read(path);
  const told = { credentials: credentials.map(tell), clientCertificates: [...clientCertificates.keys()] };
  if (options.has('json')) printJson(stdout, told);
  else {
    const lines = [
      ...told.credentials.map(
        ({ name, placeholder, ...where }) => `${name}=${placeholder}  ${describe(where)}`,
      ),
      ...told.clientCertificates.map((name) => `client certificate ${name}`),
    ];
    for (const line of lines) stdout.write(`${escapeText(line, 2000)}\n`);
  }
  return 0;
};

function read(path: string): ReturnType<typeof parseCredentials> {
  try {
    return parseCredentials(readSecretFile(openSync(path, 'r')));
  } catch (error) {
    if (error instanceof CastellanError)
      throw new CastellanError(error.code, `${path}:${error.message}`, { step: error.step, object: path });
    const errno = errnoOf(error);
    throw new CastellanError('credentials_invalid', `${path} cannot be read`, {
      step: 'credentials',
      object: path,
      remedy: 'check that it is a file of at most 1 MiB, and yours',
      ...(errno && { errno }),
    });
  }
}

interface Told {
  readonly name: string;
  readonly placeholder: string;
  readonly provider: string | undefined;
  readonly endpoints: readonly string[];
  readonly places: readonly string[];
  readonly expires: string | undefined;
}

function tell({ name, placeholder, provider, endpoints, places, expiresAt }: Credential): Told {
  return {
    name,
    placeholder,
    provider,
    endpoints: endpoints.map(({ text }) => text),
    places: [...places],
    expires: expiresAt === undefined ? undefined : new Date(expiresAt).toISOString(),
  };
}

function describe({ provider, endpoints, places, expires }: Omit<Told, 'name' | 'placeholder'>): string {
  const destinations = [
    ...endpoints,
    ...(provider === undefined ? [] : [`what the policy binds to ${provider}`]),
  ];
  const where = `to ${destinations.join(', ')}`;
  const parts = places.length === PLACES.length ? [] : [`in ${places.join(', ')}`];
  return [where, ...parts, ...(expires === undefined ? [] : [`until ${expires}`])].join('; ');
}
