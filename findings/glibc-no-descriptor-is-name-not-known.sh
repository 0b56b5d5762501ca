#!/bin/sh
# glibc 2.36: the first getaddrinfo() of a process that has no file descriptor left says "name not known".
#
# Behaviour: if the resolver cannot open its configuration for lack of descriptors, the first look-up
#   of a process fails with EAI_NONAME, the code for a name that does not exist. A process that has
#   resolved a name before gets EAI_SYSTEM with errno EMFILE for the same shortage.
# A good guess: EAI_SYSTEM with EMFILE in both cases, since nobody was asked about the name.
# Seen, for "localhost":
#   first look-up: EAI_NONAME
#   later look-up: EAI_SYSTEM, EMFILE
# Why it matters to a webhook sender: a receiver whose name does not exist is the customer's error, and
#   may end in a message to them or in switching the endpoint off. With many connections open, a
#   sender that trusts the code blames healthy receivers for its own limit.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
case $(getconf GNU_LIBC_VERSION) in
    "glibc 2.36") ;;
    *) echo "this finding is about glibc 2.36" >&2; exit 1 ;;
esac
cat > show.c <<'END'
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/resource.h>

static void limit_descriptors(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = count;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static const char *look_up(void)
{
    struct addrinfo *found = NULL;
    errno = 0;
    int code = getaddrinfo("localhost", "80", NULL, &found);
    if (code == EAI_SYSTEM)
        return errno == EMFILE ? "EAI_SYSTEM, EMFILE" : "EAI_SYSTEM";
    if (code == EAI_NONAME)
        return "EAI_NONAME";
    if (code == 0)
        freeaddrinfo(found);
    return code == 0 ? "found" : "another error";
}

int main(int count, char **arguments)
{
    (void)arguments;
    if (count > 1) {
        look_up();
        limit_descriptors(3);
        printf("later look-up: %s\n", look_up());
    } else {
        limit_descriptors(3);
        printf("first look-up: %s\n", look_up());
    }
    return 0;
}
END
cc -o show show.c
{ ./show; ./show again; } < /dev/null > seen 2> errors
cat seen
cat > expected <<'END'
first look-up: EAI_NONAME
later look-up: EAI_SYSTEM, EMFILE
END
diff expected seen
