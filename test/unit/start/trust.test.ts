import { describe, expect, it } from 'vitest';
import { javaEnvironment } from '../../../src/start/trust.ts';

const STORE = '/run/castellan-user/castellan/a-run.1/trust/java-cacerts';
const OPTION = `-Djavax.net.ssl.trustStore=${STORE} -Djavax.net.ssl.trustStoreType=JKS`;

describe('Java is told of its store', () => {
  it('by each variable, after what the operator says', () => {
    const chosen = { JAVA_OPTS: '-Xmx1g -Dgreeting="a b"', SBT_OPTS: '', OTHER: 'x' };
    expect(javaEnvironment(STORE, chosen)).toEqual({
      JAVA_OPTS: `-Xmx1g -Dgreeting="a b" ${OPTION}`,
      MAVEN_OPTS: OPTION,
      GRADLE_OPTS: OPTION,
      SBT_OPTS: OPTION,
    });
  });

  it.each(['/run/a b/trust', '/run/$(id)/trust', "/run/it's/trust", '/run/*/trust', '/run/a\\b/trust'])(
    'and not where scripts would take the path apart: %s',
    (store) => expect(javaEnvironment(store, { JAVA_OPTS: '-Xmx1g' })).toEqual({}),
  );
});
