/** Partition suffixes of AWS endpoints; the label before, where it is one, is the region. */
const SUFFIX = /^(?<labels>.+)\.(?:amazonaws\.com(?<china>\.cn)?|api\.aws|on\.aws)$/;
const REGION = /^(?:s3-)?(?<region>[a-z]{2}(?:-[a-z]+)+-[0-9])$/;

/**
 * The region that the name of an AWS endpoint tells (AWS General Reference, service endpoints): `sqs.eu-west-1.amazonaws.com`,
 * `bucket.s3.dualstack.eu-west-1.amazonaws.com`, `s3-eu-west-1.amazonaws.com`. Names without one are those of global services, which
 * sign for us-east-1. Undefined for any other name.
 */
export function awsRegion(host: string): string | undefined {
  const parts = SUFFIX.exec(host)?.groups;
  if (parts === undefined) return undefined;
  const labels = parts['labels']?.split('.') ?? [];
  const region = REGION.exec(labels.at(-1) ?? '')?.groups?.['region'];
  if (region !== undefined) return region;
  return parts['china'] === undefined && host.endsWith('.amazonaws.com') ? 'us-east-1' : undefined;
}
