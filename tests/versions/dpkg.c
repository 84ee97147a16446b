/* Answers for libdpkg which of two versions is the newer one, so that a test can ask it for many.
 *
 * stdin: texts, each ended by a zero byte, two a pair. stdout: a line a pair: what parseversion says of either
 * (0 a version, 1 one that is warned of, 2 none) and, unless one is none, what dpkg_version_compare says.
 */
#define LIBDPKG_VOLATILE_API
#include <dpkg/dpkg.h>
#include <dpkg/dpkg-db.h>
#include <dpkg/ehandle.h>
#include <dpkg/version.h>

#include <stdio.h>
#include <stdlib.h>

static int
parse(struct dpkg_version *version, const char *text)
{
	struct dpkg_error error = DPKG_ERROR_INIT;
	int answer = 0;

	dpkg_version_blank(version);
	if (parseversion(version, text, &error) != 0) {
		answer = error.type == DPKG_MSG_WARN ? 1 : 2;
		dpkg_error_destroy(&error);
	}
	return answer;
}

int
main(void)
{
	char *a = NULL, *b = NULL;
	size_t a_room = 0, b_room = 0;

	while (getdelim(&a, &a_room, '\0', stdin) > 0) {
		struct dpkg_version first, second;
		int first_is, second_is;
		const char *order = "-";

		if (getdelim(&b, &b_room, '\0', stdin) <= 0)
			return 2;
		first_is = parse(&first, a);
		second_is = parse(&second, b);
		if (first_is != 2 && second_is != 2) {
			int difference = dpkg_version_compare(&first, &second);

			order = difference < 0 ? "lt" : difference > 0 ? "gt" : "eq";
		}
		printf("%d %d %s\n", first_is, second_is, order);
		nffreeall();
	}
	free(a);
	free(b);
	return ferror(stdin) || fflush(stdout) != 0;
}
