#include "posix.h"

#include <termios.h>

napi_value make_raw(napi_env env, napi_callback_info info) {
    napi_value values[MAX_ARGUMENTS];
    int terminal;
    struct termios settings;
    if (!arguments(env, info, 1, values) || !get_int(env, values[0], &terminal)) return NULL;
    if (tcgetattr(terminal, &settings) != 0) return throw_errno(env, errno, "tcgetattr");
    cfmakeraw(&settings);
    if (tcsetattr(terminal, TCSADRAIN, &settings) != 0) return throw_errno(env, errno, "tcsetattr");
    return NULL;
}
