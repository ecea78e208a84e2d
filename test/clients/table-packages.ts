/** Package managers and git, each fetching from a repository of its own kind. */
import { type Client, NODE } from './client.ts';

export const PACKAGE_CLIENTS: readonly Client[] = [
  {
    name: 'git clone and push',
    core: true,
    ways: ['proxy', 'direct', 'bare'],
    script: `git config --global user.name t; git config --global user.email t@demo.test
git clone -q $FILES/git/pushable.git w && cd w && cat README && git checkout -q -b side-$RANDOM$RANDOM && head -c 3000000 /dev/urandom > more && git add . && git commit -qm more && git push -q origin HEAD && echo pushed`,
    prints: /^from git\npushed$/m,
    refused: 'git clone -q https://$REFUSED_HOST:8443/forbidden/x.git y',
    says: {
      request: /The requested URL returned error: 403/,
      tunnel: /CONNECT tunnel failed, response 403/,
      name: /Could not resolve host/,
    },
  },
  {
    name: 'git push that the policy refuses',
    tls: ['opened'],
    script: 'git clone -q $FILES/git/readonly.git w && cat w/README',
    prints: /^from git$/m,
    refused:
      'cd w && git -c user.name=t -c user.email=t@demo.test commit -qm x --allow-empty && git push origin HEAD',
    says: { request: /The requested URL returned error: 403/ },
  },
  {
    name: 'npm install of sixty packages',
    script: `export NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false
mkdir app && cd app && echo '{"name":"app","version":"1.0.0","dependencies":{"@demo/pkg-0":"^1","pkg-1":"^1","pkg-10":"^1","pkg-20":"^1","pkg-30":"^1","pkg-40":"^1","pkg-50":"^1"}}' > package.json
npm install --loglevel=error --registry $FILES/npm-$HOST/ && grep -c '"integrity"' package-lock.json && ${NODE} -p 'require("@demo/pkg-0") + require("pkg-59")'`,
    prints: /^60\n59$/m,
    refused: 'npm install --registry $REFUSED_BASE/ --fetch-retries 0 pkg-x',
    says: { request: /403 Forbidden - GET/, tunnel: /403/, name: /ENOTFOUND|EAI_AGAIN/ },
  },
  {
    name: 'pip install',
    core: true,
    script:
      'python3 -m pip install -q --no-cache-dir --disable-pip-version-check --target lib -i $FILES/pypi/simple castpip && PYTHONPATH=lib python3 -c "import castpip; print(castpip.answer)"',
    prints: /^42$/m,
    refused:
      'python3 -m pip install --no-cache-dir --disable-pip-version-check --retries 0 --target lib $REFUSED_BASE/castpip-1.0-py3-none-any.whl',
    says: {
      request: /HTTP error 403 while getting/,
      tunnel: /Tunnel connection failed: 403 Forbidden/,
      name: /Failed to establish a new connection/,
    },
  },
  {
    name: 'apt update and download',
    ways: ['proxy', 'direct', 'bare'],
    script: `mkdir -p st/lists/partial ca/archives/partial; : > status
apt="apt-get -o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State=$PWD/st -o Dir::State::status=$PWD/status -o Dir::Cache=$PWD/ca -o APT::Update::Error-Mode=any"
echo "deb [trusted=yes] $FILES/deb ./" > sources.list; $apt -qq update >&2 && $apt -qq download castdeb >&2 && dpkg-deb -f castdeb_1_all.deb Package`,
    prints: /^castdeb$/m,
    refused: 'echo "deb [trusted=yes] $REFUSED_BASE ./" > sources.list; $apt -o Acquire::Retries=0 update',
    says: { request: /403 {2}Forbidden/, tunnel: /403/, name: /resolv|resolution/ },
  },
  {
    name: 'cargo fetch (libgit2 and libcurl)',
    script: `mkdir -p c/src .cargo; cd c; : > src/lib.rs; printf '[package]\\nname = "c"\\nversion = "1.0.0"\\nedition = "2018"\\n[dependencies]\\ncastcrate = { version = "1", registry = "demo" }\\n' > Cargo.toml
printf '[registries.demo]\\nindex = "%s"\\n' $FILES/git/index-$HOST.git > ../.cargo/config.toml
cargo fetch >&2 && ls ~/.cargo/registry/src/*/`,
    prints: /^castcrate-1.0.0$/m,
    refused: `printf '[net]\\nretry = 0\\n[registries.demo]\\nindex = "%s"\\n' $REFUSED_BASE/x.git > ../.cargo/config.toml; rm Cargo.lock; cargo fetch`,
    says: { request: /403/, tunnel: /403/, name: /resolve/ },
  },
  {
    name: 'go mod download (net/http)',
    ways: ['proxy', 'direct', 'bare'],
    script:
      'export PATH=/usr/lib/go/bin:$PATH GONOSUMDB=* GOPROXY=$FILES/go GOTOOLCHAIN=local; go mod download -json demo.test/castgo@v1.0.0 | grep -c "castgo@v1.0.0\\"" ',
    prints: /^1$/m,
    refused: 'GOPROXY=$REFUSED_BASE go mod download demo.test/castgo@v1.0.1',
    says: { request: /403 Forbidden/, tunnel: /Forbidden/, name: /lookup forbidden.demo.test/ },
  },
];
