/*
 * The methods that userd serves, or can serve, by their paths, and what kind of call each is: for
 * those who treat kinds of calls differently, and for those who must know a mistyped path. Pure.
 *
 * Owns, borrows: nothing; the rows are constants.
 * Thread:  any.
 */
#ifndef SERVICE_METHOD_CLASS_H
#define SERVICE_METHOD_CLASS_H

enum method_class {
    METHOD_CLASS_CALL,   /* reads, and streams of changes, whose messages are the changes */
    METHOD_CLASS_CHANGE, /* one call, one change */
    METHOD_CLASS_HEALTH,
    METHOD_CLASS_REFLECTION,
};

/* "/users.v1.UserService/GetUser" and so on, by service; NULL at the end. */
extern const char *const method_class_paths[];

/* What kind of call it is, by the path of a method in the table of methods. */
enum method_class method_class_of(const char *path);

#endif
