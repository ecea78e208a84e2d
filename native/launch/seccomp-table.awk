# Turns seccomp.table into rows for seccomp.c; an unreadable line stops the build.

# The groups that a policy may relax, and their bits on the wire; src/policy/seccomp.ts has the same list.
BEGIN {
    count_of_groups = split("trace namespaces io-uring perf bpf keys userfaultfd netlink personality", groups, " ")
    for (i = 1; i <= count_of_groups; i++) bit_of[groups[i]] = i - 1
    printf "/* Bits of the groups that may be relaxed. */\n#define RELAXABLE_GROUPS %#xu\n#ifdef SECCOMP_ROWS\n", 2 ^ count_of_groups - 1
}

function bad(why) {
    print FILENAME ":" FNR ": " why ": " $0 > "/dev/stderr"
    exit failed = 1
}

function masked(argument, mask, value) {
    return sprintf("SCMP_CMP64(%s, SCMP_CMP_MASKED_EQ, %s, %s)", argument, mask, value)
}

function comparison(text,    argument, rest, parts) {
    if (text !~ /^A[0-5](=|>|&0x[0-9a-f]+=)(0x[0-9a-f]+|[0-9]+)$/) bad("condition")
    argument = substr(text, 2, 1)
    rest = substr(text, 4)
    if (text ~ /^..>/) return sprintf("SCMP_CMP64(%s, SCMP_CMP_GT, %s)", argument, rest)
    if (text ~ /^..=/) return masked(argument, "0xffffffff", rest)
    split(rest, parts, "=")
    return masked(argument, parts[1], parts[2])
}

function row(conditions,    number) {
    number = $1
    guard = sub(/^x86:/, "", number)
    if (guard) print "#ifdef __x86_64__"
    printf "    {__NR_%s, %s, %s, %s, %d, {%s}},\n", number, $2, ($4 == "both" ? "false" : "true"), \
        ($5 in bit_of ? sprintf("1u << %d", bit_of[$5]) : "0"), count, conditions
    if (guard) print "#endif"
}

/^ *(#|$)/ { next }

{
    if ($1 !~ /^(x86:)?[a-z][a-z0-9_]*$/) bad("system call")
    if ($2 !~ /^(EPERM|ENOSYS)$/) bad("action")
    if ($4 !~ /^(both|network-role)$/) bad("profile")
    if ($5 !~ /^[a-z-]+$/ || $6 != "#" || NF < 7) bad("group or reason")
    if ($3 == "-") { count = 0; row("{0}"); next }
    conditions = ""; unequal = ""
    count = split($3, each, ",")
    if (count > 2) bad("condition")
    for (i = 1; i <= count; i++) {
        if (each[i] ~ /!=/) unequal = each[i]
        else conditions = conditions comparison(each[i]) ", "
    }
    if (unequal == "") { row(conditions); next }
    # Not equal in 32 bits: a row for each bit that can differ. libseccomp compares whole 64 or one mask only.
    if (unequal !~ /^A[0-5]!=(0|0xffffffff)$/) bad("condition")
    for (bit = 0; bit < 32; bit++)
        row(conditions masked(substr(unequal, 2, 1), sprintf("(1u << %d)", bit), unequal ~ /=0$/ ? sprintf("(1u << %d)", bit) : "0"))
}

END { if (!failed) print "#endif" }
