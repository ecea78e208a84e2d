/** Programs as people use them, and what they have to print inside the cell. Packages: scripts/setup.mjs, goal test:programs. */

export interface Program {
  readonly name: string;
  /** Lines of /bin/sh, run in the working directory, which is HOME and TMPDIR too. */
  readonly script: string;
  readonly prints: RegExp;
  /** By default 0. */
  readonly exitCode?: number;
  /** More of the policy. */
  readonly policy?: string;
}

const node = process.execPath;

export const PROGRAMS: readonly Program[] = [
  {
    name: 'bash: pipelines, job control, process substitution, here documents',
    script: `bash -c 'set -m; sleep 0.1 & wait %1; diff <(seq 3) <(seq 3) && cat <<X | tr a-z A-Z
from bash $((6 * 7))
X'`,
    prints: /^FROM BASH 42$/m,
  },
  {
    name: 'coreutils, tar, gzip, xz, find, sed, awk',
    script:
      'mkdir d && seq 100 > d/n && ln -s n d/l && tar cJf d.txz d && tar xzf <(:) 2>/dev/null; tar xJf d.txz -O d/n | awk "{s+=\\$1} END {print s}" | sed s/^/sum=/; find d -type l; chmod 600 d/n; touch -d 2020-01-01 d/n; mv d e; rm -r e',
    prints: /^sum=5050\nd\/l$/m,
  },
  {
    name: 'git: commit, clone, rebase, gc',
    script: `git config --global user.email a@b && git config --global user.name n && git init -q -b main one && cd one
for i in 1 2 3; do echo $i > f$i; git add . ; git commit -qm c$i; done
git gc -q; cd .. && git clone -q one two && cd two && git checkout -qb side HEAD~1 && echo x > g && git add g && git commit -qm side && git rebase -q main && git log --oneline | wc -l`,
    prints: /^4$/m,
  },
  {
    name: 'renames and links between directories',
    script: `python3 -c '
import os
os.makedirs("a/b"); open("a/b/f", "w").close()
os.rename("a/b/f", "a/g"); os.link("a/g", "a/b/h"); os.rename("a/b", "c")
print(sorted(os.listdir("a")), sorted(os.listdir("c")))'`,
    prints: /^\['g'\] \['h'\]$/m,
  },
  {
    name: 'gcc and make',
    script: `cat > t.c <<'X'
#include <pthread.h>
#include <stdio.h>
static void *work(void *p) { *(int *)p = 42; return 0; }
int main(void) { int n = 0; pthread_t t; pthread_create(&t, 0, work, &n); pthread_join(t, 0); printf("n=%d\\n", n); }
X
printf 't: t.c\\n\\tgcc -O2 -o t t.c -lpthread\\n' > Makefile; make -s -j2 && ./t`,
    prints: /^n=42$/m,
  },
  {
    name: 'node: workers, child processes, streams, crypto',
    script: `cat > t.mjs <<'X'
import { Worker } from 'node:worker_threads';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
const [answer] = await once(worker, 'message');
console.log(answer, execFileSync('echo', ['child']).toString().trim(), createHash('sha256').update('a').digest('hex').slice(0, 4));
const failure = await fetch('http://refused.example/').then((r) => r.status, (e) => e.cause.message);
console.log('fetch', failure);
X
${node} t.mjs`,
    prints: /^42 child ca97\nfetch (?!200).+/m,
  },
  {
    name: 'npm: pack, install, run',
    script: `mkdir dep app && echo '{"name":"dep","version":"1.0.0","main":"i.js","bin":{"dep":"i.js"}}' > dep/package.json && printf '#!/usr/bin/env node\\nconsole.log("from dep")\\n' > dep/i.js
cd app && echo '{"name":"app","version":"1.0.0","scripts":{"go":"dep"}}' > package.json && npm pack --silent ../dep && npm install --offline --no-audit --no-fund --silent ./dep-1.0.0.tgz && npm run --silent go`,
    prints: /^dep-1.0.0.tgz\nfrom dep$/m,
  },
  {
    name: 'python: venv, pip, threads, processes',
    script: `mkdir pkg && printf 'from setuptools import setup\\nsetup(name="pk", version="1", py_modules=["pk"])\\n' > pkg/setup.py && echo 'answer = 42' > pkg/pk.py
python3 -m venv v && v/bin/pip install -q --no-index --no-build-isolation ./pkg && v/bin/python -c 'import pk, concurrent.futures as c, multiprocessing as m
print(pk.answer, list(c.ThreadPoolExecutor().map(abs, [-1])))
with m.Pool(2) as p: print(p.map(abs, [-2, -3]))'`,
    prints: /^42 \[1\]\n\[2, 3\]$/m,
  },
  {
    name: 'go: build, goroutines, test',
    script: `export PATH=/usr/lib/go-1.19/bin:/usr/lib/go/bin:$PATH; mkdir m && cd m && go mod init example.org/m 2>/dev/null
cat > main.go <<'X'
package main
import ("fmt"; "os/exec"; "sync")
func main() { var w sync.WaitGroup; n := make([]int, 8); for i := range n { w.Add(1); go func(i int) { n[i] = i; w.Done() }(i) }; w.Wait()
 out, err := exec.Command("echo", "child").Output(); fmt.Println(n, string(out), err) }
X
go run .`,
    prints: /^\[0 1 2 3 4 5 6 7\] child\n <nil>$/m,
  },
  {
    name: 'rust: cargo build, threads',
    script: `export PATH=/usr/bin:/bin; cargo init -q --vcs none --name r r && cd r && echo 'fn main() { let t = std::thread::spawn(|| 6 * 7); println!("rust {}", t.join().unwrap()); }' > src/main.rs && cargo build -q --offline && ./target/debug/r`,
    prints: /^rust 42$/m,
  },
  {
    name: 'java: javac, threads, files',
    script: `cat > T.java <<'X'
import java.nio.file.*; import java.util.stream.*;
public class T { public static void main(String[] a) throws Exception { Files.writeString(Path.of("f"), "x"); System.out.println("java " + IntStream.range(0, 100).parallel().sum() + Files.readString(Path.of("f"))); } }
X
javac T.java && java -Xmx256m T`,
    prints: /^java 4950x$/m,
  },
  {
    name: 'chromium headless, its own sandbox off',
    script: `chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir=$PWD/profile --dump-dom 'data:text/html,<p id=x></p><script>x.textContent = "js " + 6 * 7</script>' 2>/dev/null`,
    prints: /<p id="x">js 42<\/p>/,
  },
  {
    name: 'apt: update, download from a repository of files',
    script: `mkdir -p deb/DEBIAN repo st/lists/partial ca/archives/partial && printf 'Package: hi\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: x\\n' > deb/DEBIAN/control && dpkg-deb -b deb repo/hi.deb >/dev/null
(cat deb/DEBIAN/control; echo "Filename: ./hi.deb"; echo "Size: $(stat -c %s repo/hi.deb)"; echo "SHA256: $(sha256sum repo/hi.deb | cut -d' ' -f1)") > repo/Packages
echo "deb [trusted=yes] file:$PWD/repo ./" > sources.list; : > status
apt="-q -o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State=$PWD/st -o Dir::State::status=$PWD/status -o Dir::Cache=$PWD/ca"
apt-get $apt update >/dev/null && apt-get $apt download hi >/dev/null && dpkg-deb -f hi_1_all.deb Package`,
    prints: /^hi$/m,
  },
  {
    name: 'sqlite3, openssl, ssh-keygen, curl',
    script: `sqlite3 a.db 'pragma journal_mode=wal; create table t(x); insert into t values(42); select x from t' | tail -1; openssl rand -hex 4 | wc -c; ssh-keygen -q -t ed25519 -N '' -f key && ls key.pub; curl -sS https://allowed.demo.test:8443/x --cacert "$WORLD/ca.crt"`,
    prints: /^42\n9\nkey.pub\nGET allowed.demo.test:8443 \/x 0$/m,
  },
  {
    name: 'strace, which is refused in words',
    script: 'strace -o trace true 2>&1',
    prints: /PTRACE_TRACEME.*Operation not permitted|ptrace.*Operation not permitted/,
    exitCode: 1,
  },
  {
    name: 'strace, where the policy relaxes the group',
    script: 'strace -f -o trace sh -c "exit 3"; echo $?; grep -c exit_group trace',
    prints: /^3\n1$/m,
    policy: 'seccomp: { relax: [trace] }\n',
  },
];
