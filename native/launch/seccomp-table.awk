# Turns seccomp.table into rows for seccomp.c; an unreadable line stops the build.
function comparison(text,    parts, argument, rest) {
    if (match(text, /^A[0-5]/) == 0) bad()
    argument = substr(text, 2, 1)
    rest = substr(text, 3)
    if (rest ~ /^>[0-9a-fx]+$/) return sprintf("SCMP_CMP64(%s, SCMP_CMP_GT, %s)", argument, substr(rest, 2))
    if (rest ~ /^=[0-9a-fx]+$/) return sprintf("SCMP_CMP64(%s, SCMP_CMP_MASKED_EQ, 0xffffffff, %s)", argument, substr(rest, 2))
    if (rest ~ /^!=0$/) return sprintf("SCMP_CMP64(%s, SCMP_CMP_NE, 0)", argument)
    if (rest ~ /^&[0-9a-fx]+=[0-9a-fx]+$/) {
        split(substr(rest, 2), parts, "=")
        return sprintf("SCMP_CMP64(%s, SCMP_CMP_MASKED_EQ, %s, %s)", argument, parts[1], parts[2])
    }
    bad()
}
function bad() { print FILENAME ":" FNR ": unreadable: " $0 > "/dev/stderr"; failed = 1; exit 1 }
/^ *(#|$)/ { next }
{
    if (index($0, "# ") == 0 || NF < 6) bad()
    if ($3 != "both" && $3 != "network-role") bad()
    count = 0; conditions = ""
    if ($4 != "-") {
        count = split($4, each, ",")
        for (i = 1; i <= count; i++) conditions = conditions (i > 1 ? ", " : "") comparison(each[i])
    }
    printf "#ifdef __NR_%s\n", $1
    printf "    {SCMP_SYS(%s), %s, %s, %d, {%s}},\n#endif\n", $1, $2, ($3 == "both" ? "false" : "true"), count, (count ? conditions : "{0}")
}
