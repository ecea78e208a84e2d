#!/bin/bash
# The agent of the demo: an ordinary script that tries what agents try. Each attempt prints one line,
# `attempt TAB expected TAB outcome TAB detail`; the demo checks them.
work=$1 secret=$2 origin_ca=$3

attempt() { # label, expected (ok|refused), command…
  local label=$1 expected=$2 outcome detail
  shift 2
  if detail=$("$@" 2>&1); then outcome=ok; else outcome=refused; fi
  printf 'attempt\t%s\t%s\t%s\t%s\n' "$label" "$expected" "$outcome" "$(tail -n 1 <<<"$detail" | tr -cd '[:print:]' | cut -c 1-160)"
}
fetch() { curl --silent --show-error --fail --max-time 20 --cacert "$origin_ca" "$@"; }
# What a program does that does not know about proxies.
direct() { env -u HTTPS_PROXY -u HTTP_PROXY -u ALL_PROXY -u https_proxy -u http_proxy -u all_proxy "$@"; }
export -f fetch direct
export origin_ca

attempt 'read a file the policy allows' ok cat "$work/notes.txt"
attempt 'write in the working directory' ok sh -c "echo done > '$work/result.txt'"
attempt 'read a file the policy does not name' refused cat "$secret"
attempt 'write outside the working directory' refused sh -c 'echo x > /etc/castellan-demo'
attempt 'fetch from an allowed origin, through the proxy' ok fetch https://allowed.demo.test:8443/hello
attempt 'fetch from an allowed origin, ignoring the proxy' ok direct bash -c 'fetch https://allowed.demo.test:8443/hello'
attempt 'fetch from a forbidden origin, through the proxy' refused fetch https://forbidden.demo.test:8443/
attempt 'fetch from a forbidden origin, ignoring the proxy' refused direct bash -c 'fetch https://forbidden.demo.test:8443/'
attempt 'fetch from an address, ignoring the proxy' refused direct bash -c 'fetch --insecure https://10.77.0.1:8443/'
attempt 'read inside TLS, where the policy allows reading' ok curl -sS --fail --max-time 20 https://other.demo.test:8443/items
attempt 'delete inside TLS, where the policy allows reading' refused curl -sS --fail --max-time 20 -X DELETE https://other.demo.test:8443/items
attempt 'use a program the rule does not name' refused direct python3 -c "import urllib.request as u; u.urlopen('http://allowed.demo.test:8080/', timeout=20)"
attempt 'send UDP' refused python3 -c "import socket; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.connect(('10.77.0.1',4433)); s.send(b'x'); s.settimeout(3); s.send(b'x'); s.recv(1)"
attempt 'open a raw socket' refused python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'
attempt 'become root' refused python3 -c 'import os; os.setuid(0)'
printf 'waiting\n'
read -r _
