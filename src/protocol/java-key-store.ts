/** Java's own format of a store of trusted certificates, JKS version 2, which every Java reads, whatever its default format is. */
import { createHash } from 'node:crypto';

const MAGIC = 0xfeedfeed;
const VERSION = 2;
const TRUSTED_CERTIFICATE = 2;
/** What Java's own stores are sealed with: it protects nothing, and programs that open the store by hand give it. */
const PASSWORD = 'changeit';
/** Part of the seal (sun.security.provider.JavaKeyStore). */
const WHITENER = 'Mighty Aphrodite';

/** The store of these certificates, given as DER. `createdAt` is what each entry is dated with. */
export function javaKeyStore(certificates: readonly Uint8Array[], createdAt: Date): Buffer {
  const date = Buffer.alloc(8);
  date.writeBigInt64BE(BigInt(createdAt.getTime()));
  const entries = certificates.flatMap((certificate, index) => [
    uint32(TRUSTED_CERTIFICATE),
    text(`castellan-${index}`),
    date,
    text('X.509'),
    uint32(certificate.length),
    certificate,
  ]);
  const store = Buffer.concat([uint32(MAGIC), uint32(VERSION), uint32(certificates.length), ...entries]);
  const seal = createHash('sha1').update(Buffer.from(PASSWORD, 'utf16le').swap16()).update(WHITENER);
  return Buffer.concat([store, seal.update(store).digest()]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** As DataOutput.writeUTF writes ASCII. */
function text(value: string): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(value.length);
  return Buffer.concat([length, Buffer.from(value, 'ascii')]);
}
