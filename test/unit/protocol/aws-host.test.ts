import { expect, it } from 'vitest';
import { awsRegion } from '../../../src/protocol/aws-host.ts';

it.each([
  ['sqs.eu-west-1.amazonaws.com', 'eu-west-1'],
  ['bucket.s3.us-gov-west-1.amazonaws.com', 'us-gov-west-1'],
  ['my.bucket.s3.dualstack.ap-southeast-2.amazonaws.com', 'ap-southeast-2'],
  ['s3-us-west-2.amazonaws.com', 'us-west-2'],
  ['bucket.s3-eu-central-1.amazonaws.com', 'eu-central-1'],
  ['s3.cn-north-1.amazonaws.com.cn', 'cn-north-1'],
  ['abc123.execute-api.us-east-2.amazonaws.com', 'us-east-2'],
  ['abc.lambda-url.eu-west-1.on.aws', 'eu-west-1'],
  ['ec2.eu-west-3.api.aws', 'eu-west-3'],
  ['iam.amazonaws.com', 'us-east-1'],
  ['bucket.s3.amazonaws.com', 'us-east-1'],
  ['iam.amazonaws.com.cn', undefined],
  ['amazonaws.com', undefined],
  ['eu-west-1.example.org', undefined],
  ['sqs.eu-west-1.amazonaws.com.example.org', undefined],
  ['sqs.eu-west-1.notamazonaws.com', undefined],
])('%s is in %s', (host, region) => {
  expect(awsRegion(host)).toBe(region);
});
