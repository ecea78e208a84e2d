/** What an agent reads at http://policy.local/: how things are, and what it can do about them. Short, and without promises. */
export function agentGuide(takesProposals: boolean): string {
  return takesProposals ? `${READING}${PROPOSING}` : `${READING}${NO_PROPOSALS}`;
}

const READING = `# policy.local

You run in a sandbox. A policy says which program may reach which host, port and request. Whatever is refused is answered with JSON
(\`"error": "policy_denied"\`) that says why, and what a rule would have to list (\`rule_missing\`). There is no way around it, and every try is on record.

- \`GET /v1/policy/current\`: the network rules in force, as YAML
- \`GET /v1/denials?last=10\`: what was refused of late (at most 100), without queries
- \`GET /v1/explain?url=https%3A%2F%2Fhost%2Fpath&method=GET\`: what would become of a request of the program that asks; nothing is sent.
  \`POST /v1/explain\` takes \`{"url", "method", "headers", "body"}\`.
`;

const PROPOSING = `
## When you need something that is refused

Ask for it, as narrowly as the work allows: one host, one method, one path, the program that needs it. A person reads what you ask for, and why.

    curl -s http://policy.local/v1/proposals -H 'Content-Type: application/json' -d '{
      "intent_summary": "file the bug that the user asked for",
      "operations": [{"addRule": {"ruleName": "file-issues", "rule": {
        "endpoints": [{"host": "api.example.org", "port": 443, "protocol": "rest", "enforcement": "enforce",
                       "rules": [{"allow": {"method": "POST", "path": "/repos/o/r/issues"}}]}],
        "binaries": [{"path": "/usr/bin/curl"}]}}}]}'

The answer has the id of the proposal, the rule as it would be in force, and what it would grant. Unknown keys are refused.

- \`GET /v1/proposals/ID/wait?timeout=60\`: answers when it is decided (at most after 300 seconds); \`"status": "approved"\` means that the rule is
  in force, and the request can be tried again. Otherwise ask again, or go on with other work: a person may need hours.
- \`GET /v1/proposals/ID\`: the same at once.

Do not ask for more than was refused, nor for the same in other words after a no.
`;

const NO_PROPOSALS = `
Proposals are not taken in this sandbox: what you need beyond the policy, ask of the person you work for.
`;
