// Runs one Lua program with two numbers: the smallest program around the library.

#include <stdio.h>

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PROGRAM SIZE SEED\n", argv[0]);
        return 2;
    }
    lua_State *lua = luaL_newstate();
    if (lua == NULL) {
        fprintf(stderr, "no memory\n");
        return 1;
    }
    luaL_openlibs(lua);
    // Hash seeds come from addresses; programs print what does not depend on them.
    const char *names[] = {"size", "seed"};
    for (int i = 0; i < 2; i++) {
        if (lua_stringtonumber(lua, argv[2 + i]) == 0) {
            fprintf(stderr, "%s is no number\n", argv[2 + i]);
            return 2;
        }
        lua_setglobal(lua, names[i]);
    }
    if (luaL_dofile(lua, argv[1]) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(lua, -1));
        return 1;
    }
    lua_close(lua);
    return fflush(stdout) == 0 ? 0 : 1;
}
