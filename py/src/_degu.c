/* _degu.c - Python's side of degu.h
   SPDX-License-Identifier: MIT OR 0BSD

   Everything in this file unwraps Python objects, calls the core, and wraps
   what the core gives.  What may stand where in a message, in which order
   things happen and what the bytes look like is decided in degu.h alone.

       state        what belongs to one module object
       errors       Python exceptions out of the core's error list
       Reader       one degu_conn with its way to the other end
       headers      dict to field lines and back
       bodies       Body and ChunkedBody, which are input
       Output       these, bytes, and all else that can be sent
       Request
       Connection   the client's end
       Loop         degu_serve() with Python threads
       module

   What needs no C stands in _values.py and exceptions.py.

   Rules that hold throughout:
   - All objects are made by tp_new alone, so there is nothing half-made.
   - The GIL guards all of it, where there is one.  It is released around what
     may wait; whatever is in use meanwhile is marked by Reader.busy, and a
     second user is told so instead of being let in.
   - Without a GIL the same holds: what belongs to a Reader and to the bodies
     that read from it is touched by whoever has set Reader.busy; the rest, and
     what others may look at meanwhile, by PEEK(), POKE(), put_object() and
     critical sections, which cost nothing where there is a GIL.  What saves
     time by being shared between threads (State.cache, State.spare) is not
     there: threads would wait for each other's reference counts.
   - The core calls back into this file.  If Python raises there, the exception
     waits in Reader.exception until the core has returned. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#define DEGU_STATIC
#define DEGU_IMPLEMENTATION
#include "degu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READ_MAX 16777216   /* bytes that one read() may return */
#define PIECE_MAX 1048576   /* bytes of a piece when a body is iterated */
#define CALLBACK_MAX 65536  /* bytes for one call of a Python method */
#define HELD_MAX 65536      /* bytes sent without releasing the GIL */
#define STEP 65536 /* bytes of a body that have a timeout of their own */

#ifdef Py_GIL_DISABLED
#define SHARES 0 /* may threads share what saves time? */
#else
#define SHARES 1
#endif

#ifndef Py_BEGIN_CRITICAL_SECTION /* before 3.13 */
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

/* What one thread writes and others look at. */
#define PEEK(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define POKE(place, value) __atomic_store_n(&(place), value, __ATOMIC_RELEASE)

/* Sets a mark, and tells what it was: one thread alone finds 0.  The GIL makes
   that so by itself, without an instruction that locks the bus. */
static char swap_mark(char *mark, char value)
{
#ifdef Py_GIL_DISABLED
    return __atomic_exchange_n(mark, value, __ATOMIC_SEQ_CST);
#else
    const char was = *mark;

    *mark = value;
    return was;
#endif
}

/* ======================================================================== */
/* state                                                                    */
/* ======================================================================== */

enum { T_READER, T_BODY, T_CHUNKED_BODY, T_REQUEST, T_CONNECTION, T_LOOP,
       T_COUNT };

/* Objects that are needed again and again. */
enum {
    O_RESPONSE, /* classes of degu._values */
    O_API_TYPE,
    O_RANGE,
    O_CONTENT_RANGE,
    O_BODY_ITER,
    O_CHUNKED_BODY_ITER,
    O_DEGU_ERROR, /* classes of degu.exceptions */
    O_PROTOCOL_ERROR,
    O_TRUNCATED_ERROR,
    O_EMPTY_PREAMBLE_ERROR,
    O_RANGE_NAME, /* names */
    O_FILENO,
    O_CLOSE,
    O_RELEASE,
    O_SOURCE,
    O_LENGTH,
    O_STATE,
    O_GETTIMEOUT,
    O_RECV_INTO,
    O_SEND,
    O_READINTO,
    O_READLINE,
    O_WRITE,
    O_FAILED,
    O_UPSTREAM_FAILED,
    O_CONNECTED,
    O_CLOSED,
    O_REFUSED,
    O_SPAWN,
    O_SECURE,
    O_SHAKEN,
    O_UNSAFE,
    O_DO_HANDSHAKE,
    O_PENDING,
    O_UNWRAP,
    O_SSLOBJ,
    O_READ,
    O_SENT,
    O_ANSWERED,
    O_NO_ARGS,  /* () */
    O_STAND_IN, /* for values of a Request's dict, see there */
    O_API,      /* the object api */
    O_SOCKET,   /* socket.socket, once somebody came with one */
    O_FILE_IO,  /* io.FileIO, likewise */
    O_WANT_READ, /* classes of ssl, likewise */
    O_WANT_WRITE,
    O_SSL_SOCKET,
    O_SSL_OBJECT,
    O_TRANSLATE, /* functions of degu._tls, likewise */
    O_TAKE_OVER,
    O_IS_EOF,
    O_PEER_OF,
    O_COUNT
};

/* The items of a Request. */
enum { METHOD, URI, SCRIPT, PATH, QUERY, HEADERS, BODY, ITEM_COUNT };

#define METHOD_COUNT 7
#define CACHE_SIZE 256

typedef struct State {
    PyTypeObject *type[T_COUNT];
    PyObject *object[O_COUNT];
    PyObject *method[METHOD_COUNT]; /* names, in the order of degu_method */
    PyObject *item[ITEM_COUNT];     /* names, in the order of a Request */
    PyObject *cache[CACHE_SIZE];    /* short texts that were seen before */
    PyObject *spare;  /* a Request that nobody refers to, or NULL */
    bool keeps_spare; /* until the module goes */
#ifdef Py_GIL_DISABLED
    PyMutex iter_lock;
#endif
} State;

static State *state_of(PyObject *self)
{
    return PyType_GetModuleState(Py_TYPE(self));
}

/* Puts a new reference, which others may be reading, in place of the last.
   Only for holders of a critical section of the object it is in. */
static void put_object(PyObject **place, PyObject *object)
{
    PyObject *last = *place;

    POKE(*place, object);
    Py_XDECREF(last);
}

/* An item of a list that other threads may change: a new reference, or NULL
   without an exception past its end. */
static PyObject *item_of(PyObject *list, Py_ssize_t at)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *item = PyList_GetItemRef(list, at);

    if (!item)
        PyErr_Clear(); /* IndexError */
    return item;
#else
    return at < PyList_GET_SIZE(list) ? Py_NewRef(PyList_GET_ITEM(list, at))
                                      : NULL;
#endif
}

/* An item of a dict: a new reference, or NULL, which is an error only with an
   exception. */
static PyObject *value_of(PyObject *dict, PyObject *key)
{
    PyObject *value;

#if PY_VERSION_HEX >= 0x030D0000
    (void)PyDict_GetItemRef(dict, key, &value);
#else
    value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
    return value;
}

static PyObject *new_text(const char *ptr, size_t len)
{
    PyObject *text;

    if (len < 2)
        return PyUnicode_FromStringAndSize(ptr, (Py_ssize_t)len);
    text = PyUnicode_New((Py_ssize_t)len, 127);
    if (text)
        memcpy(PyUnicode_1BYTE_DATA(text), ptr, len);
    return text;
}

/* A str of text, which is ASCII: the one made last time, if it is still in
   the cache, which saves its making and the reckoning of its hash. */
static PyObject *cached_text(State *st, degu_str text)
{
    uint64_t mix = 0, end = 0;
    PyObject **place, *made;

    if (text.len < 2 || text.len > 32 || !SHARES)
        return new_text(text.ptr, text.len);
    if (text.len < 8) {
        memcpy(&mix, text.ptr, text.len);
    } else { /* one load each */
        memcpy(&mix, text.ptr, 8);
        memcpy(&end, text.ptr + text.len - 8, 8);
    }
    mix = (mix ^ (end << 37 | end >> 27)) * UINT64_C(0x9e3779b97f4a7c15) ^
          text.len * UINT64_C(0xc2b2ae3d27d4eb4f);
    place = &st->cache[mix >> 56];
    if (*place && (size_t)PyUnicode_GET_LENGTH(*place) == text.len &&
        !memcmp(PyUnicode_1BYTE_DATA(*place), text.ptr, text.len))
        return Py_NewRef(*place);
    made = new_text(text.ptr, text.len);
    if (made)
        Py_XSETREF(*place, Py_NewRef(made));
    return made;
}

/* ======================================================================== */
/* errors                                                                   */
/* ======================================================================== */

/* The exception in flight as one object, and back (3.12 has this built in). */
static PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    if (!type)
        return NULL;
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace)
        PyException_SetTraceback(value, trace);
    Py_DECREF(type);
    Py_XDECREF(trace);
    return value;
#endif
}

static void give_exception(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception,
                  PyException_GetTraceback(exception));
#endif
}

static void raise_system(int number)
{
    errno = number ? number : ECONNRESET;
    PyErr_SetFromErrno(PyExc_OSError);
}

/* Raises what the core reported.  system is errno; seen, if there, the bytes
   that caused it, which stand at offset at; about an addition to the sentence,
   or NULL. */
static void raise_seen(State *st, degu_err err, int system, degu_str seen,
                       size_t at, const char *about)
{
    PyObject *type, *text, *bytes, *offset, *made = NULL;

    switch ((int)err) {
    case DEGU_E_RESET:
    case DEGU_E_SYSTEM:
        raise_system(system);
        return;
    case DEGU_E_TIMEOUT:
        PyErr_SetString(PyExc_TimeoutError, degu_strerror(err));
        return;
    case DEGU_E_REFUSED:
        PyErr_SetString(PyExc_ConnectionRefusedError, degu_strerror(err));
        return;
    case DEGU_E_CLOSED:
        type = st->object[O_EMPTY_PREAMBLE_ERROR];
        break;
    case DEGU_E_TRUNCATED:
        type = st->object[O_TRUNCATED_ERROR];
        break;
    default:
        type = st->object[O_PROTOCOL_ERROR];
    }
    bytes = PyBytes_FromStringAndSize(seen.ptr, (Py_ssize_t)seen.len);
    offset = seen.ptr ? PyLong_FromSize_t(at) : Py_NewRef(Py_None);
    if (!bytes || !offset)
        text = NULL;
    else if (seen.ptr)
        text = PyUnicode_FromFormat("%s: %R at byte %S", degu_strerror(err),
                                    bytes, offset);
    else
        text = PyUnicode_FromFormat(about ? "%s: %s" : "%s",
                                    degu_strerror(err), about);
    if (text)
        made = PyObject_CallFunction(type, "NsiO", text, degu_err_name(err),
                                     degu_err_status(err), offset);
    if (made)
        PyErr_SetObject(type, made);
    Py_XDECREF(made);
    Py_XDECREF(bytes);
    Py_XDECREF(offset);
}

/* The same about what happened on conn, or NULL. */
static void raise_error(State *st, degu_err err, int system,
                        const degu_conn *conn, const char *about)
{
    degu_str seen = conn ? degu_conn_error_bytes(conn) : degu_bytes(NULL, 0);

    raise_seen(st, err, system, seen, conn ? degu_conn_error_at(conn) : 0,
               about);
}

/* got is held, as the text of its class, which a metaclass may give, can take
   it out of what it was found in. */
static int need_type(const char *name, const char *type, PyObject *got)
{
    Py_INCREF(got);
    PyErr_Format(PyExc_TypeError, "%s: need %s; got a %R: %R", name, type,
                 Py_TYPE(got), got);
    Py_DECREF(got);
    return -1;
}

/* The bytes of a str, good as long as the str is.  What is not ASCII is for
   the core to refuse. */
static int text_view(const char *name, PyObject *text, degu_str *view)
{
    Py_ssize_t len;

    if (!PyUnicode_CheckExact(text))
        return need_type(name, "a str", text);
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        view->ptr = (const char *)PyUnicode_1BYTE_DATA(text);
        view->len = (size_t)PyUnicode_GET_LENGTH(text);
        return 0;
    }
    view->ptr = PyUnicode_AsUTF8AndSize(text, &len);
    view->len = (size_t)len;
    return view->ptr ? 0 : -1;
}

/* An exact int from 0 to the core's largest length. */
static int get_length(const char *name, PyObject *number, uint64_t *length)
{
    unsigned long long value;

    if (!PyLong_CheckExact(number))
        return need_type(name, "an int", number);
    value = PyLong_AsUnsignedLongLong(number);
    if ((value == (unsigned long long)-1 && PyErr_Occurred()) ||
        value > DEGU_LENGTH_MAX) {
        PyErr_Format(PyExc_ValueError, "need 0 <= %s <= %llu; got %R", name,
                     (unsigned long long)DEGU_LENGTH_MAX, number);
        return -1;
    }
    *length = value;
    return 0;
}

static int need_list(const char *name, PyObject *got)
{
    if (got && PyList_CheckExact(got))
        return 0;
    return need_type(name, "a list", got ? got : Py_None);
}

static int need_method(PyObject *object, PyObject *name)
{
    PyObject *method = PyObject_GetAttr(object, name);
    int good = method ? PyCallable_Check(method) : 1;

    if (!good)
        PyErr_Format(PyExc_TypeError, "%R.%U is not callable", object, name);
    if (method && good) {
        Py_DECREF(method);
        return 0;
    }
    Py_XDECREF(method);
    return -1;
}

/* ---- types ---- */

/* A function in a slot is a void pointer: Python.h wants what ISO C has not. */
#define SLOT(function) (__extension__(void *)(function))
#define FASTCALL(function) ((PyCFunction)(void (*)(void))(function))
#define MEMBER(type, name)                                                    \
    {#name, T_OBJECT_EX, offsetof(type, name), READONLY, NULL}
#define TYPE_FLAGS                                                            \
    (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC)

/* The references of an object: those from its member first to its member
   last, which lie one behind the other. */
#define FIELDS(self, type, first, last)                                       \
    &((type *)(self))->first,                                                 \
        (offsetof(type, last) - offsetof(type, first)) / sizeof(PyObject *) + 1

static int visit_fields(PyObject **at, size_t count, visitproc visit,
                        void *arg)
{
    for (; count; count--, at++)
        Py_VISIT(*at);
    return 0;
}

static void clear_fields(PyObject **at, size_t count)
{
    for (; count; count--, at++)
        Py_CLEAR(*at);
}

/* tp_dealloc of the types that have a tp_clear. */
static void object_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    type->tp_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ======================================================================== */
/* Reader                                                                   */
/* ======================================================================== */

typedef enum Kind {
    SERVED, /* a connection of the server, which owns it */
    PLAIN,  /* socket.socket: system calls on the descriptor */
    SECURE, /* ssl.SSLSocket: its methods, and waiting at the descriptor */
    DUCK,   /* any object with recv_into() and send() */
    FROM,   /* a file with readinto(), and readline() if there are chunks */
    INTO    /* a file with write() */
} Kind;

/* One degu_conn with its way to the other end.  Connections, sessions and
   bodies hold references, so it lives as long as anybody may read from it. */
typedef struct Reader {
    PyObject_HEAD
    State *st;
    degu_conn *conn;     /* NULL once there is nothing to read from */
    degu_socket *socket; /* SERVED, PLAIN, SECURE */
    degu_session *served; /* SERVED, under TLS: tells which thread is in it */
    PyObject *source;    /* the socket or file; SERVED: under TLS only */
    PyObject *recv;      /* recv_into or readinto */
    PyObject *line;      /* readline */
    PyObject *send;      /* send or write */
    PyObject *scratch;   /* bytearray that Python code reads into */
    PyObject *session;   /* SERVED */
    PyObject *fault;     /* SERVED: what reading the request's body raised */
    PyObject *peer;      /* under TLS: who was found at the other end */
    PyObject *headers;   /* of a head, once it has come twice; nobody's else */
    PyObject *exception; /* raised in a callback, waits to be shown */
    size_t requests;     /* SERVED: answered so far */
    size_t serial;       /* tells the bodies of earlier messages */
    uint64_t limit;      /* FROM: bytes that may still be taken */
    degu_err failed;     /* SERVED: what fault was raised for */
    Kind kind;
    char busy;   /* somebody is inside the core with it */
    char going;  /* the next call goes on with the step of the last */
    char closed; /* the source has been closed */
    char ending; /* it shall be, by whoever is inside the core */
    char known;  /* the descriptor is still the socket's */
    char heard;  /* a byte has come since a request was begun */
    char more;   /* an SSLSocket has decrypted more than was taken */
    char blind;  /* and cannot tell a close_notify from a bare end of file */
    char *buffer;
    struct Lately *lately; /* the fields of the last head, or NULL */
    degu_conn own_conn;
    degu_socket own_socket;
} Reader;

static int reader_enter(Reader *r)
{
    if (!swap_mark(&r->busy, 1))
        return 0;
    PyErr_SetString(PyExc_RuntimeError,
                    "the connection is in use by another call");
    return -1;
}

/* Enters a SERVED one; a thread that the app has left in it loses the
   connection.  True if there was one. */
static bool reader_oust(Reader *r)
{
    struct timespec pause = {0, 1000000};
    bool found = false;

    while (swap_mark(&r->busy, 1)) {
        found = true;
        shutdown(r->socket->fd, SHUT_RDWR);
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
    }
    return found;
}

static void reader_close(Reader *r);

/* Who set ending and found somebody inside relies on that one to close it. */
static void reader_leave(Reader *r)
{
    do {
        if (PEEK(r->ending))
            reader_close(r);
        swap_mark(&r->busy, 0);
    } while (__atomic_load_n(&r->ending, __ATOMIC_SEQ_CST) &&
             !PEEK(r->closed) && !swap_mark(&r->busy, 1));
}

/* The first to ask has to close the source.  Nobody is told so while
   reader_shut() is at its descriptor. */
static bool reader_claim(Reader *r)
{
    bool first;

    Py_BEGIN_CRITICAL_SECTION(r);
    first = !r->closed;
    POKE(r->closed, 1);
    Py_END_CRITICAL_SECTION();
    return first;
}

/* The way out of a callback in which Python has raised. */
static degu_err hold_exception(Reader *r, degu_err err)
{
    PyObject *exception = take_exception();

    if (r->exception)
        Py_XDECREF(exception);
    else
        r->exception = exception;
    return err;
}

/* Raises what the core reported about r, or what Python raised meanwhile. */
static void reader_raise(Reader *r, degu_err err, const char *about)
{
    PyObject *exception = r->exception;

    if (exception) {
        r->exception = NULL;
        give_exception(exception);
        return;
    }
    raise_error(r->st, err, r->socket ? r->socket->sys_errno : 0, r->conn,
                about);
}

/* Keeps in mind which exception means that the request's body is at fault: only
   that one is answered with err's status, if it comes out of the app. */
static void remember_fault(Reader *r, degu_err err)
{
    PyObject *exception;

    if (r->kind != SERVED)
        return;
    exception = take_exception();
    r->failed = err;
    Py_BEGIN_CRITICAL_SECTION(r);
    put_object(&r->fault, Py_XNewRef(exception));
    Py_END_CRITICAL_SECTION();
    give_exception(exception);
}

/* What the exception in flight is answered as. */
static degu_err blame(Reader *r)
{
    PyObject *exception = take_exception();
    degu_err err = exception && exception == PEEK(r->fault) ? r->failed
                                                            : DEGU_E_HANDLER;

    give_exception(exception);
    return err;
}

/* Sends a close_notify, if nothing is missing, and does not wait for one: on a
   socket that does not wait unwrap() says so once it is sent. */
static void say_goodbye(Reader *r)
{
    PyObject *result;

    if (!r->conn || r->conn->broken)
        return;
    result = PyObject_CallMethodNoArgs(r->source, r->st->object[O_UNWRAP]);
    if (!result)
        PyErr_Clear();
    Py_XDECREF(result);
}

/* Closes the source, as an exception may be on its way. */
static void reader_close(Reader *r)
{
    PyObject *pending, *result;

    if (r->kind == SERVED || !reader_claim(r) || r->kind == FROM ||
        r->kind == INTO)
        return;
    pending = take_exception();
    if (r->kind == SECURE)
        say_goodbye(r);
    result = PyObject_CallMethodNoArgs(r->source, r->st->object[O_CLOSE]);
    if (!result)
        PyErr_Clear();
    Py_XDECREF(result);
    if (pending)
        give_exception(pending);
}

/* ---- plain sockets: no Python object between the core and the kernel ---- */

/* Has an SSLSocket become a plain one? */
static bool is_unwrapped(Reader *r)
{
    PyObject *inner;

    if (r->kind != SECURE)
        return false;
    inner = PyObject_GetAttr(r->source, r->st->object[O_SSLOBJ]);
    if (!inner)
        PyErr_Clear();
    Py_XDECREF(inner);
    return inner == Py_None;
}

/* Somebody may have closed the socket behind our back, and its number may
   belong to another file by now; or ended its TLS. */
static int check_descriptor(Reader *r)
{
    PyObject *number;
    long fd;

    if (r->kind != PLAIN && r->kind != SECURE)
        return 0;
    number = PyObject_CallMethodNoArgs(r->source, r->st->object[O_FILENO]);
    if (!number)
        return -1;
    fd = PyLong_AsLong(number);
    Py_DECREF(number);
    r->known = fd == r->own_socket.fd && !is_unwrapped(r);
    if (r->known)
        return 0;
    POKE(r->closed, 1);
    if (!PyErr_Occurred())
        raise_error(r->st, DEGU_E_FINISHED, 0, NULL,
                    "the socket was closed");
    return -1;
}

/* May the call that waits be made?  A signal that came in before it would not
   interrupt it, so this asks first, and again after each one that did. */
static bool may_wait(Reader *r)
{
    if (!PyErr_CheckSignals() && (r->known || !check_descriptor(r)))
        return true;
    hold_exception(r, DEGU_E_INTERRUPTED);
    return false;
}

/* A step begins even if its first bytes are there already: those behind them,
   of the same step, may have to be waited for. */
static void begin_step(Reader *r)
{
    if (r->socket)
        r->socket->deadline = 0;
}

static ptrdiff_t plain_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    Reader *r = ctx;
    PyThreadState *thread;
    ptrdiff_t n = DEGU_E_INTERRUPTED;

    if (flags & DEGU_IO_PEEK)
        return degu_socket_recv(r->socket, buf, len, flags);
    if (r->going)
        flags &= ~DEGU_IO_BEGIN;
    while (n == DEGU_E_INTERRUPTED && may_wait(r)) {
        thread = PyEval_SaveThread();
        n = degu_socket_recv(r->socket, buf, len, flags);
        PyEval_RestoreThread(thread);
        r->known = 0;
        flags &= ~DEGU_IO_BEGIN;
    }
    r->heard = r->heard || n > 0;
    if (n || !PEEK(r->ending))
        return n;
    /* Our own shutdown(), which must not pass for the other end's. */
    raise_error(r->st, DEGU_E_FINISHED, 0, NULL, "the connection was closed");
    return hold_exception(r, DEGU_E_FINISHED);
}

/* What the kernel can take at once is sent with the GIL held: giving it up
   and having it back would cost more than the copy. */
static ptrdiff_t plain_send(void *ctx, const degu_str *pieces, size_t count,
                            unsigned flags)
{
    Reader *r = ctx;
    PyThreadState *thread;
    ptrdiff_t n = DEGU_E_INTERRUPTED;
    size_t i, total = 0;

    for (i = 0; i < count; i++)
        total += pieces[i].len;
    if (!r->known && check_descriptor(r))
        return hold_exception(r, DEGU_E_INTERRUPTED);
    if (total <= HELD_MAX) {
        n = degu_socket_send(r->socket, pieces, count,
                             flags | DEGU_IO_NOWAIT);
        if (n == DEGU_E_AGAIN)
            n = DEGU_E_INTERRUPTED;
    }
    while (n == DEGU_E_INTERRUPTED && may_wait(r)) {
        thread = PyEval_SaveThread();
        n = degu_socket_send(r->socket, pieces, count, flags);
        PyEval_RestoreThread(thread);
        r->known = 0;
        flags &= ~DEGU_IO_BEGIN;
    }
    return n;
}

/* ---- Python objects ---- */

/* The int from 0 to most that a method returned, or -1. */
static Py_ssize_t get_count(const char *name, PyObject *result, size_t most)
{
    Py_ssize_t n;

    if (!PyLong_CheckExact(result))
        return need_type(name, "an int", result);
    n = PyLong_AsSsize_t(result);
    if (n >= 0 && (size_t)n <= most)
        return n;
    PyErr_Format(PyExc_ValueError, "need 0 <= %s <= %zu; got %R", name, most,
                 result);
    return -1;
}

/* The number that a method made of a view of len bytes, or -1; result, which is
   given up, is what it returned, NULL if it raised.  Whoever has kept the view
   has no use for it from now on. */
static Py_ssize_t end_view(Reader *r, const char *name, PyObject *view,
                           PyObject *result, size_t len)
{
    Py_ssize_t n = -1;

    if (result) {
        n = get_count(name, result, len);
        Py_DECREF(result);
        result = n < 0 ? NULL
                       : PyObject_CallMethodNoArgs(view,
                                                   r->st->object[O_RELEASE]);
        if (!result)
            n = -1;
        Py_XDECREF(result);
    }
    Py_DECREF(view);
    return n;
}

/* Copies the first n bytes of the scratch space, which keeps its size for the
   time: whoever has released the view himself can have shortened it. */
static Py_ssize_t copy_scratch(Reader *r, char *buf, Py_ssize_t n)
{
    Py_buffer held;

    if (PyObject_GetBuffer(r->scratch, &held, PyBUF_SIMPLE))
        return -1;
    if (n <= held.len) {
        memcpy(buf, held.buf, (size_t)n);
    } else {
        PyErr_SetString(PyExc_BufferError, "the buffer has been shortened");
        n = -1;
    }
    PyBuffer_Release(&held);
    return n;
}

/* Calls method with a view of the first len bytes of the scratch space, and
   copies what it has put there.  Whoever keeps the view, or a view of it, keeps
   the scratch space and can harm nobody. */
static Py_ssize_t call_into(Reader *r, PyObject *method, const char *name,
                            char *buf, size_t len)
{
    PyObject *whole = PyMemoryView_FromObject(r->scratch), *part;
    Py_ssize_t n;

    if (!whole)
        return -1;
    part = PySequence_GetSlice(whole, 0, (Py_ssize_t)len);
    Py_DECREF(whole);
    if (!part)
        return -1;
    n = end_view(r, name, part, PyObject_CallOneArg(method, part), len);
    return n < 0 ? n : copy_scratch(r, buf, n);
}

static ptrdiff_t object_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    Reader *r = ctx;
    Py_ssize_t n;

    if (flags & DEGU_IO_PEEK)
        return DEGU_E_AGAIN;
    /* Whoever was given a view of it can have shortened it since. */
    if (!r->scratch || PyByteArray_GET_SIZE(r->scratch) < CALLBACK_MAX) {
        Py_XSETREF(r->scratch,
                   PyByteArray_FromStringAndSize(NULL, CALLBACK_MAX));
        if (!r->scratch)
            return hold_exception(r, DEGU_E_SOURCE);
        /* What claims to have put more into it than it has shows zeros. */
        memset(PyByteArray_AS_STRING(r->scratch), 0, CALLBACK_MAX);
    }
    if (len > CALLBACK_MAX)
        len = CALLBACK_MAX;
    n = call_into(r, r->recv, "received", buf, len);
    if (n < 0)
        return hold_exception(r, DEGU_E_SOURCE);
    r->heard = r->heard || n > 0;
    return n;
}

/* As much of the pieces as there is room for. */
static size_t join_pieces(char *space, size_t size, const degu_str *pieces,
                          size_t count)
{
    size_t i, part, len = 0;

    for (i = 0; i < count; i++) {
        part = size - len < pieces[i].len ? size - len : pieces[i].len;
        memcpy(space + len, pieces[i].ptr, part);
        len += part;
    }
    return len;
}

static ptrdiff_t object_send(void *ctx, const degu_str *pieces, size_t count,
                             unsigned flags)
{
    Reader *r = ctx;
    PyObject *bytes, *result;
    size_t i, len = 0;
    Py_ssize_t n = -1;

    (void)flags;
    for (i = 0; i < count; i++)
        len += pieces[i].len;
    if (len > CALLBACK_MAX)
        len = CALLBACK_MAX;
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
    if (!bytes)
        return hold_exception(r, DEGU_E_SOURCE);
    join_pieces(PyBytes_AS_STRING(bytes), len, pieces, count);
    result = PyObject_CallOneArg(r->send, bytes);
    Py_DECREF(bytes);
    if (result)
        n = get_count("sent", result, len);
    Py_XDECREF(result);
    if (n == 0)
        PyErr_Format(PyExc_OSError,
                     "expected to write %zu bytes, but sent 0", len);
    return n > 0 ? n : hold_exception(r, DEGU_E_SOURCE);
}

/* A line of a file, which cannot take back what lies behind it. */
static ptrdiff_t file_line(Reader *r, void *buf, size_t len)
{
    PyObject *result = PyObject_CallFunction(r->line, "n", (Py_ssize_t)len);
    Py_ssize_t n;

    if (result && !PyBytes_CheckExact(result)) {
        need_type("readline()", "bytes", result);
        Py_CLEAR(result);
    }
    if (result && (size_t)PyBytes_GET_SIZE(result) > len) {
        PyErr_Format(PyExc_ValueError,
                     "readline() returned too many bytes: %zd > %zu",
                     PyBytes_GET_SIZE(result), len);
        Py_CLEAR(result);
    }
    if (!result)
        return hold_exception(r, DEGU_E_SOURCE);
    n = PyBytes_GET_SIZE(result);
    memcpy(buf, PyBytes_AS_STRING(result), (size_t)n);
    Py_DECREF(result);
    return n;
}

static ptrdiff_t file_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    Reader *r = ctx;
    ptrdiff_t n;

    if (flags & DEGU_IO_PEEK)
        return 1; /* as far as anybody can tell */
    if (r->line && flags & DEGU_IO_LINE)
        return file_line(r, buf, len);
    if (len > r->limit)
        len = (size_t)r->limit;
    n = object_recv(r, buf, len, flags);
    if (n > 0)
        r->limit -= (uint64_t)n;
    return n;
}

/* ---- ssl.SSLSocket: does not wait; that is done at the descriptor ---- */

static bool is_secure(const Reader *r)
{
    return r->kind == SECURE || (r->kind == SERVED && r->source);
}

/* Puts an object where there is none yet, and takes over the reference; or, if
   another thread was first, leaves what that has put there.  What stands there
   then, borrowed. */
static PyObject *settle_object(PyObject **place, PyObject *object)
{
    PyObject *first = NULL;

    if (__atomic_compare_exchange_n(place, &first, object, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return object;
    Py_DECREF(object);
    return first;
}

/* An attribute of a module, once it is needed. */
static PyObject *import_object(State *st, int index, const char *from,
                               const char *name)
{
    PyObject *module, *found = PEEK(st->object[index]);

    if (found)
        return found;
    module = PyImport_ImportModule(from);
    if (!module)
        return NULL;
    found = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return found ? settle_object(&st->object[index], found) : NULL;
}

/* Is the exception in flight this one of the module ssl? */
static bool is_ssl_error(State *st, int index, const char *name)
{
    PyObject *pending = take_exception();
    PyObject *type = import_object(st, index, "ssl", name);

    if (!type)
        PyErr_Clear();
    give_exception(pending);
    return type && PyErr_ExceptionMatches(type);
}

/* What a function of degu._tls says of this. */
static PyObject *ask_tls(State *st, int index, const char *name,
                         PyObject *about)
{
    PyObject *ask = import_object(st, index, "degu._tls", name);

    return ask ? PyObject_CallOneArg(ask, about) : NULL;
}

/* Is this the end of file without a close_notify? */
static bool is_bare_end(State *st, PyObject *error)
{
    PyObject *answer = ask_tls(st, O_IS_EOF, "is_eof", error);

    if (!answer)
        PyErr_Clear();
    Py_XDECREF(answer);
    return answer == Py_True;
}

/* The exception of an end that is gone: only a handshake has use for it. */
static degu_err note_gone(Reader *r, PyObject *exception, degu_err err)
{
    if (r->kind == SERVED && !r->conn) {
        give_exception(exception);
        return hold_exception(r, err);
    }
    Py_DECREF(exception);
    return err;
}

/* What the exception of an SSLSocket's method means to the core; it may go on
   waiting for the core to return. */
static degu_err secure_fail(Reader *r)
{
    PyObject *pending = take_exception(), *found, *number;

    if (is_bare_end(r->st, pending))
        return note_gone(r, pending, DEGU_E_TRUNCATED);
    if (PyErr_GivenExceptionMatches(pending, PyExc_ConnectionError)) {
        number = PyObject_GetAttrString(pending, "errno");
        r->socket->sys_errno =
            number && PyLong_Check(number) ? (int)PyLong_AsLong(number) : 0;
        Py_XDECREF(number);
        PyErr_Clear();
        return note_gone(r, pending, DEGU_E_RESET);
    }
    found = ask_tls(r->st, O_TRANSLATE, "translate", pending);
    if (!found)
        PyErr_Clear();
    give_exception(found ? found : Py_NewRef(pending));
    Py_DECREF(pending);
    return hold_exception(r, DEGU_E_TLS);
}

/* Waits for what the step in hand has left of its time. */
static degu_err wait_for(Reader *r, bool output, unsigned flags)
{
    PyThreadState *thread;
    degu_err err = DEGU_E_INTERRUPTED;

    while (err == DEGU_E_INTERRUPTED && may_wait(r)) {
        thread = PyEval_SaveThread();
        err = degu_socket_wait(r->socket, output, flags);
        PyEval_RestoreThread(thread);
        r->known = 0;
        flags &= ~DEGU_IO_BEGIN;
    }
    return err;
}

/* An SSLSocket's method has raised.  DEGU_OK: it only would have had to wait,
   which has been done. */
static degu_err secure_wait(Reader *r, unsigned flags)
{
    const bool input = is_ssl_error(r->st, O_WANT_READ, "SSLWantReadError");

    if (!input && !is_ssl_error(r->st, O_WANT_WRITE, "SSLWantWriteError"))
        return secure_fail(r);
    PyErr_Clear();
    return wait_for(r, !input, flags);
}

/* Is it OpenSSL's own, which keeps no view of our memory? */
static bool is_ssl_object(State *st, PyObject *object)
{
    PyObject *type = import_object(st, O_SSL_OBJECT, "_ssl", "_SSLSocket");

    if (type && (PyObject *)Py_TYPE(object) == type)
        return true;
    if (type)
        need_type("_sslobj", "an _ssl._SSLSocket", object);
    return false;
}

/* recv_into() or send() of an SSLSocket.  They are written in Python and hand
   over to read() or write() of _sslobj, which a large body calls 65536 times a
   GiB; so these are called at once.  It is None once TLS has ended. */
static PyObject *secure_ask(Reader *r, int method, PyObject *view, size_t len)
{
    PyObject **names = r->st->object;
    PyObject *args[3] = {PyObject_GetAttr(r->source, names[O_SSLOBJ])};
    PyObject *size = NULL, *result = NULL;

    if (args[0] == Py_None) { /* what it did now would be in the clear */
        raise_error(r->st, DEGU_E_FINISHED, 0, NULL,
                    "the socket's TLS has ended");
    } else if (!args[0]) {
        return NULL;
    } else if (!is_ssl_object(r->st, args[0])) {
        result = NULL;
    } else if (method == O_SEND) {
        args[1] = view;
        result = PyObject_VectorcallMethod(names[O_WRITE], args, 2, NULL);
    } else if ((size = PyLong_FromSize_t(len)) != NULL) {
        args[1] = size;
        args[2] = view;
        result = PyObject_VectorcallMethod(names[O_READ], args, 3, NULL);
    }
    Py_XDECREF(size);
    Py_XDECREF(args[0]);
    return result;
}

/* Calls recv_into() or send() with a view of our memory, of which none is
   kept. */
static Py_ssize_t secure_call(Reader *r, int method, char *buf, size_t len)
{
    PyObject *view = PyMemoryView_FromMemory(
        buf, (Py_ssize_t)len, method == O_SEND ? PyBUF_READ : PyBUF_WRITE);

    if (!view)
        return -1;
    return end_view(r, "count", view, secure_ask(r, method, view, len), len);
}

static void look_for_pending(Reader *r)
{
    PyObject *result = PyObject_CallMethodNoArgs(r->source,
                                                 r->st->object[O_PENDING]);

    r->more = result && PyObject_IsTrue(result) == 1;
    if (!result)
        PyErr_Clear();
    Py_XDECREF(result);
}

/* Without looking ahead OpenSSL has no more than the record in hand. */
static void note_pending(Reader *r, Py_ssize_t n, size_t len)
{
    r->heard = r->heard || n > 0;
    r->more = 0;
    if (n > 0 && (size_t)n == len)
        look_for_pending(r);
}

/* Between messages whatever comes is an error, so a byte may be taken to see
   whether there is one: what waits may be a ticket, which is none of ours. */
static ptrdiff_t secure_peek(Reader *r)
{
    const bool nonblocking = r->socket->nonblocking;
    char byte;
    Py_ssize_t n;

    if (r->more)
        return 1;
    n = degu_socket_recv(r->socket, &byte, 1, DEGU_IO_PEEK);
    if (n == DEGU_E_AGAIN || !degu_conn_is_idle(r->conn))
        return n;
    n = secure_call(r, O_RECV_INTO, &byte, 1);
    if (n >= 0)
        return n;
    r->socket->nonblocking = true;
    n = secure_wait(r, 0);
    r->socket->nonblocking = nonblocking;
    return n;
}

static ptrdiff_t secure_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    Reader *r = ctx;
    Py_ssize_t n = -1;
    degu_err err = DEGU_OK;

    if (flags & DEGU_IO_PEEK)
        return secure_peek(r);
    if (r->going)
        flags &= ~DEGU_IO_BEGIN;
    if (flags & DEGU_IO_BEGIN)
        begin_step(r);
    /* The first of a message has to be waited for, as a rule, and to ask first
       is cheaper than an exception; the rest of it is there, as a rule. */
    if (flags & DEGU_IO_BEGIN && !r->more && !r->socket->nonblocking &&
        (r->kind == SERVED ? degu_conn_is_idle(r->conn) : !r->heard)) {
        err = wait_for(r, false, flags);
        flags &= ~DEGU_IO_BEGIN;
    }
    while (!err) {
        n = secure_call(r, O_RECV_INTO, buf, len);
        if (n >= 0)
            break;
        /* Who wants answers and takes none would be told of by the poller
           again and again. */
        if (r->socket->nonblocking &&
            is_ssl_error(r->st, O_WANT_WRITE, "SSLWantWriteError")) {
            PyErr_Clear();
            return DEGU_E_TLS;
        }
        err = secure_wait(r, flags);
        flags &= ~DEGU_IO_BEGIN;
    }
    if (err)
        return err;
    if (n == 0 && r->blind && !PEEK(r->ending))
        return DEGU_E_TRUNCATED;
    note_pending(r, n, len);
    if (n && flags & DEGU_IO_BODY)
        degu_socket_moved(r->socket, (size_t)n);
    if (n || !PEEK(r->ending))
        return n;
    raise_error(r->st, DEGU_E_FINISHED, 0, NULL, "the connection was closed");
    return hold_exception(r, DEGU_E_FINISHED);
}

/* A call that could not send all must be made again with the same bytes. */
static ptrdiff_t secure_send(void *ctx, const degu_str *pieces, size_t count,
                             unsigned flags)
{
    Reader *r = ctx;
    char space[16384]; /* a TLS record */
    char *bytes = (char *)pieces->ptr;
    size_t len = pieces->len < CALLBACK_MAX ? pieces->len : CALLBACK_MAX;
    Py_ssize_t n = -1;
    degu_err err = DEGU_OK;

    if (count > 1 && len < sizeof space) {
        len = join_pieces(space, sizeof space, pieces, count);
        bytes = space;
    }
    if (!r->known && check_descriptor(r))
        return hold_exception(r, DEGU_E_INTERRUPTED);
    if (flags & DEGU_IO_BEGIN)
        begin_step(r);
    while (n < 0) {
        n = secure_call(r, O_SEND, bytes, len);
        if (n < 0)
            err = secure_wait(r, flags);
        if (err) /* whoever sends sees no end of file */
            return err == DEGU_E_TRUNCATED ? DEGU_E_RESET : err;
        flags &= ~DEGU_IO_BEGIN;
    }
    degu_socket_moved(r->socket, (size_t)n);
    return n;
}

/* The way over a descriptor. */
static degu_io socket_io(Reader *r)
{
    const bool secure = is_secure(r);
    degu_io io;

    io.ctx = r;
    io.recv = secure ? secure_recv : plain_recv;
    io.send = secure ? secure_send : plain_send;
    return io;
}

/* ---- making and unmaking ---- */

static Reader *reader_alloc(State *st, Kind kind, PyObject *source)
{
    PyTypeObject *type = st->type[T_READER];
    Reader *r = (Reader *)type->tp_alloc(type, 0);

    if (r) {
        r->st = st;
        r->kind = kind;
        r->source = Py_XNewRef(source);
        r->limit = UINT64_MAX;
    }
    return r;
}

/* The Reader's own connection, with buffers that nobody zeroes: a page that is
   not used is never there. */
static int reader_start(Reader *r, degu_role role, degu_io io, size_t in,
                        size_t out)
{
    r->buffer = PyMem_RawMalloc(in + out);
    if (!r->buffer) {
        PyErr_NoMemory();
        return -1;
    }
    io.ctx = r;
    degu_conn_init(&r->own_conn, role, io, r->buffer, in, r->buffer + in, out);
    r->conn = &r->own_conn;
    return 0;
}

static Reader *reader_into(State *st, PyObject *file)
{
    Reader *r = reader_alloc(st, INTO, file);
    degu_io io = {NULL, object_recv, object_send};

    if (r && (need_method(file, st->object[O_WRITE]) ||
              !(r->send = PyObject_GetAttr(file, st->object[O_WRITE])) ||
              reader_start(r, DEGU_CLIENT, io, 64, DEGU_SEND_BUFFER)))
        Py_CLEAR(r);
    return r;
}

static Reader *reader_from(State *st, PyObject *file, degu_framing framing,
                           uint64_t length)
{
    Reader *r = reader_alloc(st, FROM, file);
    degu_io io = {NULL, file_recv, object_send};
    degu_err err;

    if (!r)
        return NULL;
    if (need_method(file, st->object[O_READINTO]) ||
        !(r->recv = PyObject_GetAttr(file, st->object[O_READINTO])))
        goto fail;
    if (framing == DEGU_CHUNKED &&
        (need_method(file, st->object[O_READLINE]) ||
         !(r->line = PyObject_GetAttr(file, st->object[O_READLINE]))))
        goto fail;
    if (reader_start(r, DEGU_CLIENT, io, DEGU_RECV_BUFFER, 64))
        goto fail;
    if (framing == DEGU_LENGTH) {
        r->limit = length;
        if (length == 0)
            return r;
    }
    err = degu_expect_body(r->conn, framing, length);
    if (!err)
        return r;
    reader_raise(r, err, NULL);
fail:
    Py_DECREF(r);
    return NULL;
}

/* The timeout of a socket.socket in milliseconds, -1 for none. */
static int get_timeout(State *st, PyObject *sock, int *ms)
{
    PyObject *got = PyObject_CallMethodNoArgs(sock, st->object[O_GETTIMEOUT]);
    double seconds;

    *ms = -1;
    if (!got)
        return -1;
    seconds = got == Py_None ? -1 : PyFloat_AsDouble(got);
    Py_DECREF(got);
    if (PyErr_Occurred())
        return -1;
    if (seconds < 0)
        return 0;
    if (seconds == 0) {
        PyErr_SetString(PyExc_ValueError, "the socket is non-blocking");
        return -1;
    }
    *ms = seconds < INT_MAX / 1000 ? (int)ceil(seconds * 1000) : INT_MAX;
    return 0;
}

/* The kernel shall wait for input by itself, which is one system call instead
   of three.  A socket.socket with a timeout does not: Python waits in poll(),
   and does so before it reads from one like this. */
static int let_wait(int fd)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 &&
        (!(flags & O_NONBLOCK) || !fcntl(fd, F_SETFL, flags & ~O_NONBLOCK)))
        return 0;
    raise_system(errno);
    return -1;
}

/* Over the descriptor of a socket.socket or ssl.SSLSocket. */
static int reader_socket(Reader *r)
{
    int fd = PyObject_AsFileDescriptor(r->source), ms;
    degu_err err;

    if (fd < 0 || get_timeout(r->st, r->source, &ms))
        return -1;
    r->socket = &r->own_socket;
    err = degu_socket_init(r->socket, fd, ms);
    if (err) {
        reader_raise(r, err, NULL);
        return -1;
    }
    r->socket->signals = true;
    if (r->kind == PLAIN && let_wait(fd))
        return -1;
    return reader_start(r, DEGU_CLIENT, socket_io(r), DEGU_RECV_BUFFER,
                        DEGU_SEND_BUFFER);
}

/* From here on an SSLSocket does not wait, and tells a bare end of file if it
   can. */
static int take_over(Reader *r)
{
    PyObject *can_tell = ask_tls(r->st, O_TAKE_OVER, "take_over", r->source);

    r->blind = can_tell == Py_False;
    Py_XDECREF(can_tell);
    return can_tell ? 0 : -1;
}

static int reader_duck(Reader *r)
{
    degu_io io = {NULL, object_recv, object_send};

    r->recv = PyObject_GetAttr(r->source, r->st->object[O_RECV_INTO]);
    r->send = r->recv ? PyObject_GetAttr(r->source, r->st->object[O_SEND])
                      : NULL;
    if (!r->send)
        return -1;
    return reader_start(r, DEGU_CLIENT, io, DEGU_RECV_BUFFER,
                        DEGU_SEND_BUFFER);
}

/* Is it a socket.socket itself, no subclass?  Subclasses mean to be called. */
static int is_plain_socket(State *st, PyObject *sock)
{
    PyObject *type = import_object(st, O_SOCKET, "socket", "socket");

    return type ? (PyObject *)Py_TYPE(sock) == type : -1;
}

/* Likewise, without importing ssl: who has an SSLSocket has done that. */
static int is_ssl_socket(State *st, PyObject *sock)
{
    PyObject *modules = PyImport_GetModuleDict(), *type;

    if (!PyDict_GetItemString(modules, "ssl"))
        return 0;
    type = import_object(st, O_SSL_SOCKET, "ssl", "SSLSocket");
    return type ? (PyObject *)Py_TYPE(sock) == type : -1;
}

static int reader_open(Reader *r)
{
    switch ((int)r->kind) {
    case PLAIN:
        return reader_socket(r);
    case SECURE:
        return reader_socket(r) || take_over(r) ? -1 : 0;
    default:
        return reader_duck(r);
    }
}

static Reader *reader_client(State *st, PyObject *sock)
{
    int plain = is_plain_socket(st, sock);
    int secure = plain ? 0 : is_ssl_socket(st, sock);
    Reader *r;

    if (plain < 0 || secure < 0 || need_method(sock, st->object[O_CLOSE]) ||
        need_method(sock, st->object[O_RECV_INTO]) ||
        need_method(sock, st->object[O_SEND]))
        return NULL;
    r = reader_alloc(st, plain ? PLAIN : secure ? SECURE : DUCK, sock);
    if (r && reader_open(r)) {
        r->closed = 1; /* not ours yet */
        Py_CLEAR(r);
    }
    return r;
}

static int Reader_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return visit_fields(FIELDS(self, Reader, source, exception), visit, arg);
}

static int Reader_clear(PyObject *self)
{
    Reader *r = (Reader *)self;

    r->closed = 1;
    r->conn = NULL;
    clear_fields(FIELDS(self, Reader, source, exception));
    return 0;
}

/* The connection and all its bodies are gone.  A socket that nobody else holds
   would be closed by its own end, with a ResourceWarning. */
static void Reader_finalize(PyObject *self)
{
    Reader *r = (Reader *)self;

    if ((r->kind == PLAIN || r->kind == SECURE) && r->source &&
        Py_REFCNT(r->source) == 1)
        reader_close(r);
}

static void Reader_dealloc(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    PyMem_RawFree(((Reader *)self)->buffer);
    PyMem_RawFree(((Reader *)self)->lately);
    object_dealloc(self);
}

static PyObject *Reader_repr(PyObject *self)
{
    Reader *r = (Reader *)self;

    return PyUnicode_FromString(r->kind == FROM ? "<rfile>" : "<reader>");
}

static PyObject *Reader_get_requests(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(PEEK(((Reader *)self)->requests));
}

static PyObject *Reader_get_fault(PyObject *self, void *unused)
{
    PyObject *fault;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(self);
    fault = ((Reader *)self)->fault;
    Py_INCREF(fault = fault ? fault : Py_None);
    Py_END_CRITICAL_SECTION();
    return fault;
}

static PyGetSetDef Reader_getset[] = {
    {"requests", Reader_get_requests, NULL, NULL, NULL},
    {"fault", Reader_get_fault, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot Reader_slots[] = {
    {Py_tp_getset, Reader_getset},
    {Py_tp_dealloc, SLOT(Reader_dealloc)},
    {Py_tp_finalize, SLOT(Reader_finalize)},
    {Py_tp_traverse, SLOT(Reader_traverse)},
    {Py_tp_clear, SLOT(Reader_clear)},
    {Py_tp_repr, SLOT(Reader_repr)},
    {0, NULL}};

static PyType_Spec Reader_spec = {
    "degu._degu.Reader", sizeof(Reader), 0,
    TYPE_FLAGS | Py_TPFLAGS_DISALLOW_INSTANTIATION, Reader_slots};

/* ======================================================================== */
/* headers                                                                  */
/* ======================================================================== */

/* ---- in: field lines to a dict ---- */

/* The fields whose values are not text have types of their own; which they are
   and what they look like is asked of the core. */
static PyObject *header_value(State *st, degu_str name, degu_str value)
{
    degu_range range;
    degu_content_range content;
    uint64_t length;

    if (name.len == 14 && degu_is(name, "content-length") &&
        !degu_parse_length(value, &length))
        return PyLong_FromUnsignedLongLong(length);
    if (name.len == 5 && degu_is(name, "range") &&
        !degu_parse_range(value, &range))
        return PyObject_CallFunction(st->object[O_RANGE], "KK",
                                     (unsigned long long)range.start,
                                     (unsigned long long)range.stop);
    if (name.len == 13 && degu_is(name, "content-range") &&
        !degu_parse_content_range(value, &content))
        return PyObject_CallFunction(st->object[O_CONTENT_RANGE], "KKK",
                                     (unsigned long long)content.start,
                                     (unsigned long long)content.stop,
                                     (unsigned long long)content.total);
    return new_text(value.ptr, value.len);
}

/* A second line of one name: joined to the first, and set-cookie, which cannot
   be joined, as a list. */
static int repeat_header(PyObject *dict, PyObject *name, PyObject *value)
{
    /* The dict is nobody else's yet. */
    PyObject *old = PyDict_GetItemWithError(dict, name), *both;
    int failed;

    if (!old)
        return -1;
    if (PyList_CheckExact(old))
        return PyList_Append(old, value);
    if (PyUnicode_CompareWithASCIIString(name, "set-cookie"))
        both = PyUnicode_FromFormat("%U, %U", old, value);
    else
        both = Py_BuildValue("[OO]", old, value);
    if (!both)
        return -1;
    failed = PyDict_SetItem(dict, name, both);
    Py_DECREF(both);
    return failed;
}

static int add_header(State *st, PyObject *dict, degu_header line)
{
    PyObject *name = cached_text(st, line.name), *value = NULL;
    Py_ssize_t count = PyDict_GET_SIZE(dict);
    int failed = -1;

    if (name)
        value = header_value(st, line.name, line.value);
    if (value && PyDict_SetDefault(dict, name, value))
        failed = PyDict_GET_SIZE(dict) > count
                     ? 0
                     : repeat_header(dict, name, value);
    Py_XDECREF(name);
    Py_XDECREF(value);
    return failed;
}

static PyObject *headers_dict(State *st, const degu_fields *fields)
{
    PyObject *dict = PyDict_New();
    size_t i;

    for (i = 0; dict && i < fields->count; i++) {
        if (add_header(st, dict, degu_field_at(fields, i)))
            Py_CLEAR(dict);
    }
    return dict;
}

/* ---- the fields of the last head, which often come again ---- */

/* What a head on this connection had.  Offsets are counted from the first name
   on, where the text behind them begins. */
typedef struct Lately {
    size_t room; /* bytes for fields and text */
    size_t count;
    size_t len; /* of the text */
    degu_field at[];
} Lately;

/* From the first name to the end of the last value. */
static degu_str fields_text(const degu_fields *fields)
{
    const degu_field *last = &fields->at[fields->count - 1];
    const size_t first = fields->at[0].name;
    const size_t end = (size_t)last->value + last->value_len;

    return degu_bytes(fields->base + first, end > first ? end - first : 0);
}

/* Are these fields the very same, each where it was? */
static bool came_lately(const Lately *lately, const degu_fields *fields,
                        degu_str text)
{
    const int first = fields->at[0].name;
    size_t i;

    if (!lately || lately->count != fields->count || lately->len != text.len ||
        memcmp(&lately->at[lately->count], text.ptr, text.len) != 0)
        return false;
    for (i = 0; i < fields->count; i++) {
        const degu_field *was = &lately->at[i], *is = &fields->at[i];
        if (was->name != is->name - first || was->value != is->value - first ||
            was->name_len != is->name_len || was->value_len != is->value_len)
            return false;
    }
    return true;
}

/* Only a help: without memory nothing is remembered. */
static void remember_fields(Reader *r, const degu_fields *fields,
                            degu_str text)
{
    const size_t need = fields->count * sizeof(degu_field) + text.len;
    const unsigned first = fields->at[0].name;
    Lately *lately = r->lately;
    size_t i;

    Py_CLEAR(r->headers);
    if (!lately || lately->room < need) {
        PyMem_RawFree(lately);
        r->lately = lately = PyMem_RawMalloc(sizeof *lately + need);
        if (!lately)
            return;
        lately->room = need;
    }
    lately->count = fields->count;
    lately->len = text.len;
    for (i = 0; i < fields->count; i++) {
        lately->at[i] = fields->at[i];
        lately->at[i].name = (uint16_t)(fields->at[i].name - first);
        lately->at[i].value = (uint16_t)(fields->at[i].value - first);
    }
    memcpy(&lately->at[lately->count], text.ptr, text.len);
}

/* May its values be in another dict as well?  Lists may not. */
static bool is_constant(PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(dict, &at, &name, &value)) {
        if (PyList_CheckExact(value))
            return false;
    }
    return true;
}

/* The dict of a head's fields: from the second time on that the same came, a
   copy of one that is kept. */
static PyObject *reader_headers(Reader *r, const degu_fields *fields)
{
    PyObject *dict;
    degu_str text;

    if (!SHARES || fields->count == 0)
        return headers_dict(r->st, fields);
    text = fields_text(fields);
    if (!came_lately(r->lately, fields, text)) {
        remember_fields(r, fields, text);
        return headers_dict(r->st, fields);
    }
    if (!r->headers) {
        dict = headers_dict(r->st, fields);
        if (!dict || !is_constant(dict))
            return dict;
        r->headers = dict;
    }
    return PyDict_Copy(r->headers);
}

/* ---- out: a dict to field lines ---- */

/* One more than the core takes, so that it refuses what is too much. */
#define LINE_MAX_COUNT (DEGU_HEADER_MAX + 1)

/* Names and values are held: the source of a body may change the dict they
   came from while they are being sent. */
typedef struct Lines {
    size_t count;
    degu_buffer space; /* for values that are not text */
    degu_header at[LINE_MAX_COUNT];
    PyObject *held[LINE_MAX_COUNT][2];
    char text[LINE_MAX_COUNT * 56];
} Lines;

static void lines_init(Lines *lines)
{
    lines->count = 0;
    lines->space.ptr = lines->text;
    lines->space.cap = sizeof lines->text;
    lines->space.len = 0;
}

static void lines_drop(Lines *lines)
{
    for (; lines->count; lines->count--) {
        Py_DECREF(lines->held[lines->count - 1][0]);
        Py_DECREF(lines->held[lines->count - 1][1]);
    }
}

/* Copies the text of a Range or ContentRange. */
static degu_err copy_text(PyObject *value, degu_buffer *space)
{
    PyObject *text = PyObject_Str(value);
    degu_str view = {NULL, 0};
    degu_err err = DEGU_OK;

    if (!text || text_view("value", text, &view))
        PyErr_Clear();
    if (view.len > space->cap - space->len || !view.ptr)
        err = DEGU_E_SPACE;
    else
        memcpy(space->ptr + space->len, view.ptr, view.len);
    space->len += err ? 0 : view.len;
    Py_XDECREF(text);
    return err;
}

/* The text of a value that is no str. */
static int value_view(State *st, PyObject *name, PyObject *value,
                      degu_buffer *space, degu_str *view)
{
    PyObject *type = (PyObject *)Py_TYPE(value);
    size_t before = space->len;
    uint64_t number;
    degu_err err;

    if (PyLong_CheckExact(value)) {
        if (get_length("a number in a header", value, &number))
            return -1;
        err = degu_format_length(space, number);
    } else if (type == st->object[O_RANGE] ||
               type == st->object[O_CONTENT_RANGE]) {
        err = copy_text(value, space);
    } else {
        PyErr_Format(PyExc_TypeError,
                     "headers[%R]: need a str, int, Range or ContentRange; "
                     "got a %R: %R",
                     name, type, value);
        return -1;
    }
    if (err) {
        raise_error(st, err, 0, NULL, NULL);
        return -1;
    }
    view->ptr = space->ptr + before;
    view->len = space->len - before;
    return 0;
}

/* The line is held even if it is refused, as what refuses it runs Python. */
static int add_line(State *st, Lines *lines, PyObject *name, PyObject *value)
{
    degu_header *line = &lines->at[lines->count];

    if (lines->count == LINE_MAX_COUNT)
        return 0;
    lines->held[lines->count][0] = Py_NewRef(name);
    lines->held[lines->count][1] = Py_NewRef(value);
    lines->count++;
    if (text_view("header name", name, &line->name))
        return -1;
    return PyUnicode_CheckExact(value)
               ? text_view("header value", value, &line->value)
               : value_view(st, name, value, &lines->space, &line->value);
}

/* Only set-cookie may have several values (RFC 6265 3). */
static int add_list(State *st, Lines *lines, PyObject *name, PyObject *list)
{
    Py_ssize_t i;
    PyObject *value;
    int failed;

    if (!PyUnicode_CheckExact(name) ||
        PyUnicode_CompareWithASCIIString(name, "set-cookie"))
        return add_line(st, lines, name, list);
    for (i = 0; (value = item_of(list, i)) != NULL; i++) {
        failed = PyUnicode_CheckExact(value)
                     ? add_line(st, lines, name, value)
                     : need_type("a set-cookie value", "a str", value);
        Py_DECREF(value);
        if (failed)
            return -1;
    }
    return 0;
}

/* Is the name among the first count lines? */
static bool has_line(const Lines *lines, size_t count, PyObject *name)
{
    degu_str view;
    size_t i;

    if (!count || !PyUnicode_CheckExact(name) ||
        text_view("header name", name, &view))
        return false;
    for (i = 0; i < count; i++) {
        if (degu_equal(lines->at[i].name, view))
            return true;
    }
    return false;
}

/* Adds an item, unless the name is among the first base lines. */
static int add_item(State *st, Lines *lines, size_t base, PyObject *name,
                    PyObject *value)
{
    int failed = 0;

    Py_INCREF(name);
    Py_INCREF(value);
    if (!has_line(lines, base, name))
        failed = PyList_CheckExact(value) ? add_list(st, lines, name, value)
                                          : add_line(st, lines, name, value);
    Py_DECREF(name);
    Py_DECREF(value);
    return failed;
}

/* Adds what stands in headers, except for names that are there already: a
   client's base headers win. */
static int add_headers(State *st, Lines *lines, PyObject *headers)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    size_t base = lines->count;
    int failed = 0;

    if (!PyDict_CheckExact(headers))
        return need_type("headers", "a dict", headers);
    Py_BEGIN_CRITICAL_SECTION(headers);
    while (!failed && PyDict_Next(headers, &pos, &name, &value))
        failed = add_item(st, lines, base, name, value);
    Py_END_CRITICAL_SECTION();
    return failed || PyErr_Occurred() ? -1 : 0;
}

/* The line that the core refused with err, for the message; or NULL. */
static const char *find_culprit(const Lines *lines, degu_err err, char *text,
                                size_t size)
{
    char space[256];
    size_t i;

    for (i = 0; i < lines->count; i++) {
        degu_buffer buffer = {space, sizeof space, 0};
        degu_err got = degu_format_trailers(&buffer, &lines->at[i], 1);

        if (got == err) {
            PyOS_snprintf(text, size, "in header %zu, '%.*s'", i + 1,
                          (int)(lines->at[i].name.len < 64
                                    ? lines->at[i].name.len
                                    : 64),
                          lines->at[i].name.ptr);
            return text;
        }
    }
    return NULL;
}

/* ======================================================================== */
/* bodies                                                                   */
/* ======================================================================== */

enum { READY, STARTED, CONSUMED, ERROR };

/* Body and ChunkedBody: the input body of a Reader's message. */
typedef struct Body {
    PyObject_HEAD
    Reader *reader;
    size_t serial;   /* the Reader's, of the message it belongs to */
    uint64_t length; /* in all; of a body with a length */
    uint64_t rest;   /* not handed out yet */
    degu_framing framing;
    char state;
} Body;

static const char *body_name(const Body *b)
{
    return b->framing == DEGU_CHUNKED ? "ChunkedBody" : "Body";
}

static PyObject *body_new(Reader *r, degu_framing framing, uint64_t length)
{
    PyTypeObject *type = r->st->type[framing == DEGU_CHUNKED ? T_CHUNKED_BODY
                                                             : T_BODY];
    Body *b = PyObject_GC_New(Body, type);

    if (!b)
        return NULL;
    b->reader = (Reader *)Py_NewRef((PyObject *)r);
    b->serial = r->serial;
    b->length = framing == DEGU_LENGTH ? length : 0;
    b->rest = b->length;
    b->framing = framing;
    b->state = READY;
    /* A body that reads from a plain socket cannot be part of a cycle. */
    if (r->kind == DUCK || r->kind == FROM)
        PyObject_GC_Track((PyObject *)b);
    return (PyObject *)b;
}

static PyObject *body_from_file(State *st, PyObject *file,
                                degu_framing framing, uint64_t length)
{
    Reader *r = reader_from(st, file, framing, length);
    PyObject *b = r ? body_new(r, framing, length) : NULL;

    Py_XDECREF((PyObject *)r);
    return b;
}

static PyObject *Body_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"rfile", "content_length", NULL};
    PyObject *file, *number;
    uint64_t length = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "OO:Body", names, &file,
                                     &number) ||
        get_length("content_length", number, &length))
        return NULL;
    return body_from_file(PyType_GetModuleState(type), file, DEGU_LENGTH,
                          length);
}

static PyObject *ChunkedBody_new(PyTypeObject *type, PyObject *args,
                                 PyObject *kw)
{
    static char *names[] = {"rfile", NULL};
    PyObject *file;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "O:ChunkedBody", names, &file))
        return NULL;
    return body_from_file(PyType_GetModuleState(type), file, DEGU_CHUNKED, 0);
}

static int Body_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)((Body *)self)->reader);
    return 0;
}

static void Body_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_DECREF((PyObject *)((Body *)self)->reader);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyObject *Body_repr(PyObject *self)
{
    Body *b = (Body *)self;

    if (b->framing == DEGU_LENGTH)
        return PyUnicode_FromFormat("Body(%R, %llu)", b->reader,
                                    (unsigned long long)b->length);
    if (b->framing == DEGU_CHUNKED)
        return PyUnicode_FromFormat("ChunkedBody(%R)", b->reader);
    return PyUnicode_FromFormat("Body(%R, None)", b->reader);
}

/* ---- who may do what ---- */

static int state_error(const char *name, int state)
{
    const char *text = state == STARTED ? "STARTED, cannot start another "
                                          "operation"
                       : state == CONSUMED ? "CONSUMED, already consumed"
                                           : "ERROR, cannot be used";

    PyErr_Format(PyExc_ValueError, "%s.state == BODY_%s", name, text);
    return -1;
}

static int over_error(const Body *b, const char *what)
{
    PyErr_Format(PyExc_ValueError, "%s: its %s", body_name(b), what);
    return -1;
}

/* Is it out of the question that it can be read?  Such a body must not get in
   the way of the message that the connection carries now. */
static int body_refuse(Body *b, bool fresh)
{
    const int state = PEEK(b->state);

    if (state > (fresh ? READY : STARTED))
        return state_error(body_name(b), state);
    if (b->serial != PEEK(b->reader->serial))
        return over_error(b, "message is over");
    return 0;
}

/* Inside the Reader: may the body be read now?  fresh: only if nothing has been
   read. */
static int body_check(Body *b, bool fresh)
{
    Reader *r = b->reader;

    if (body_refuse(b, fresh))
        return -1;
    if (!r->conn)
        return over_error(b, "message is over");
    if (!PEEK(r->closed) && !check_descriptor(r))
        return 0;
    if (!PyErr_Occurred())
        (void)over_error(b, "connection is closed");
    POKE(b->state, ERROR);
    return -1;
}

/* Enters the Reader, if the body may be read. */
static int body_begin(Body *b, bool fresh)
{
    if (body_refuse(b, fresh) || reader_enter(b->reader))
        return -1;
    if (!body_check(b, fresh))
        return 0;
    reader_leave(b->reader);
    return -1;
}

static int body_enter(Body *b, bool fresh)
{
    if (body_begin(b, fresh))
        return -1;
    POKE(b->state, STARTED);
    return 0;
}

/* Has the last byte been read?  Then a client's connection that carries no
   other message is closed now. */
static void body_leave(Body *b, bool end)
{
    Reader *r = b->reader;

    if (end) {
        POKE(b->state, CONSUMED);
        if (r->kind != FROM && !degu_conn_is_open(r->conn))
            reader_close(r);
    }
    reader_leave(r);
}

/* Leaves after an error of the core, which ends the connection. */
static PyObject *body_fail(Body *b, degu_err err)
{
    Reader *r = b->reader;

    POKE(b->state, ERROR);
    reader_raise(r, err, NULL);
    remember_fault(r, err);
    reader_close(r);
    reader_leave(r);
    return NULL;
}

/* ---- reading ---- */

typedef degu_err (*Read)(degu_conn *conn, void *buf, size_t cap, size_t *len);

/* size bytes, or as many as there are; with once, those of one call.  The
   calls are one step in time for each STEP bytes, so that a peer that drips
   does not win the whole timeout with each byte. */
static degu_err read_some(Reader *r, Read read, char *dst, size_t size,
                          bool once, size_t *got)
{
    degu_err err = DEGU_OK;
    size_t n, since = 0;

    *got = 0;
    while (*got < size && !err) {
        if (since == 0)
            begin_step(r);
        err = read(r->conn, dst + *got, size - *got, &n);
        if (err)
            break;
        *got += n;
        since = since + n < STEP ? since + n : 0;
        r->going = since != 0;
        if (once)
            break;
    }
    r->going = 0;
    return err;
}

/* Reads size bytes of a body that has at least as many, or one of unknown
   length. */
static PyObject *body_take(Body *b, size_t size, bool once)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    bool known = b->framing == DEGU_LENGTH;
    degu_err err = DEGU_OK;
    size_t got = 0;

    if (!bytes) {
        reader_leave(b->reader);
        return NULL;
    }
    if (size)
        err = read_some(b->reader, degu_read_body, PyBytes_AS_STRING(bytes),
                        size, once, &got);
    if (err && (known || err != DEGU_END)) {
        Py_DECREF(bytes);
        return body_fail(b, err);
    }
    if (known)
        b->rest -= got;
    body_leave(b, known ? b->rest == 0 : err == DEGU_END);
    if (got < size)
        _PyBytes_Resize(&bytes, (Py_ssize_t)got);
    return bytes;
}

/* All the rest of a body of unknown length, in one growing object. */
static PyObject *body_take_all(Body *b)
{
    size_t len = 0, cap = 8192, got;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)cap);
    degu_err err = DEGU_OK;

    while (bytes) {
        err = read_some(b->reader, degu_read_body,
                        PyBytes_AS_STRING(bytes) + len, cap - len, false,
                        &got);
        len += got;
        if (err)
            break;
        if (cap > READ_MAX) {
            err = DEGU_E_BODY_LIMIT;
            break;
        }
        cap = cap < READ_MAX ? cap * 2 : cap + 1;
        _PyBytes_Resize(&bytes, (Py_ssize_t)cap);
    }
    if (!bytes)
        return body_fail(b, hold_exception(b->reader, DEGU_E_BODY_LIMIT));
    if (err == DEGU_END && len <= READ_MAX) {
        body_leave(b, true);
        _PyBytes_Resize(&bytes, (Py_ssize_t)len);
        return bytes;
    }
    Py_DECREF(bytes);
    return body_fail(b, err == DEGU_END ? DEGU_E_BODY_LIMIT : err);
}

/* The size argument: -1 for none. */
static int get_size(PyObject *arg, Py_ssize_t *size)
{
    *size = -1;
    if (arg == Py_None)
        return 0;
    if (!PyLong_CheckExact(arg))
        return need_type("size", "an int", arg);
    *size = PyLong_AsSsize_t(arg);
    if (*size >= 0 && *size <= READ_MAX)
        return 0;
    PyErr_Format(PyExc_ValueError, "need 0 <= size <= %d; got %R", READ_MAX,
                 arg);
    return -1;
}

static PyObject *Body_read(PyObject *self, PyObject *const *args,
                           Py_ssize_t count)
{
    Body *b = (Body *)self;
    Py_ssize_t size = -1;

    if (count > 1)
        return PyErr_Format(PyExc_TypeError,
                            "Body.read() takes at most 1 argument; got %zd",
                            count);
    if (count && get_size(args[0], &size))
        return NULL;
    if (size >= 0 && PEEK(b->state) == CONSUMED)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (body_begin(b, false))
        return NULL;
    if (size < 0 && b->rest > READ_MAX) {
        raise_error(b->reader->st, DEGU_E_BODY_LIMIT, 0, NULL, NULL);
        remember_fault(b->reader, DEGU_E_BODY_LIMIT);
        reader_leave(b->reader);
        return NULL;
    }
    POKE(b->state, STARTED);
    if (b->framing == DEGU_LENGTH && (size < 0 || (uint64_t)size > b->rest))
        size = (Py_ssize_t)b->rest;
    return size < 0 ? body_take_all(b) : body_take(b, (size_t)size, false);
}

static PyObject *ChunkedBody_read(PyObject *self, PyObject *unused)
{
    Body *b = (Body *)self;

    (void)unused;
    return body_enter(b, false) ? NULL : body_take_all(b);
}

static PyObject *Body_iter(PyObject *self)
{
    Body *b = (Body *)self;

    if (body_begin(b, true))
        return NULL;
    reader_leave(b->reader);
    return Py_NewRef(self);
}

static PyObject *Body_next(PyObject *self)
{
    Body *b = (Body *)self;
    PyObject *bytes;

    if (PEEK(b->state) == CONSUMED || body_enter(b, false))
        return NULL;
    if (b->framing == DEGU_LENGTH)
        bytes = body_take(
            b, b->rest < PIECE_MAX ? (size_t)b->rest : PIECE_MAX, false);
    else
        bytes = body_take(b, CALLBACK_MAX, true);
    if (bytes && PyBytes_GET_SIZE(bytes) == 0)
        Py_CLEAR(bytes);
    return bytes;
}

/* ---- chunks ---- */

/* (key, value) of the first extension, None without any. */
static PyObject *extension_tuple(degu_str extensions)
{
    degu_extension first;
    PyObject *key, *value, *pair = NULL;
    char *text;

    if (!degu_next_extension(&extensions, &first))
        Py_RETURN_NONE;
    key = new_text(first.key.ptr, first.key.len);
    if (!first.value.ptr) {
        value = Py_NewRef(Py_None);
    } else if (first.escaped) {
        text = PyMem_Malloc(first.value.len);
        value = text ? new_text(text, degu_unescape(first.value, text))
                     : PyErr_NoMemory();
        PyMem_Free(text);
    } else {
        value = new_text(first.value.ptr, first.value.len);
    }
    if (key && value)
        pair = PyTuple_Pack(2, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return pair;
}

/* The next chunk, (extension, data); NULL after an error. */
static PyObject *body_take_chunk(Body *b)
{
    Reader *r = b->reader;
    PyObject *extension = NULL, *data = NULL, *pair = NULL;
    size_t got;
    degu_chunk chunk;
    degu_err err = degu_read_chunk(r->conn, &chunk);

    if (!err && chunk.size > DEGU_CHUNK_MAX)
        err = DEGU_E_CHUNK_LIMIT;
    if (err)
        return body_fail(b, err);
    extension = extension_tuple(chunk.extensions);
    data = extension
               ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)chunk.size)
               : NULL;
    if (data)
        err = read_some(r, degu_read_chunk_data, PyBytes_AS_STRING(data),
                        (size_t)chunk.size, false, &got);
    if (data && !err)
        pair = PyTuple_Pack(2, extension, data);
    if (!pair && !err)
        err = hold_exception(r, DEGU_E_SOURCE);
    Py_XDECREF(extension);
    Py_XDECREF(data);
    if (err) {
        Py_XDECREF(pair);
        return body_fail(b, err);
    }
    body_leave(b, chunk.size == 0);
    return pair;
}

static PyObject *ChunkedBody_readchunk(PyObject *self, PyObject *unused)
{
    Body *b = (Body *)self;

    (void)unused;
    return body_enter(b, false) ? NULL : body_take_chunk(b);
}

static PyObject *ChunkedBody_next(PyObject *self)
{
    Body *b = (Body *)self;

    if (PEEK(b->state) == CONSUMED || body_enter(b, false))
        return NULL;
    return body_take_chunk(b);
}

/* ---- attributes ---- */

static PyObject *Body_get_length(PyObject *self, void *unused)
{
    Body *b = (Body *)self;

    (void)unused;
    if (b->framing != DEGU_LENGTH)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(b->length);
}

static PyObject *Body_get_chunked(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((Body *)self)->framing == DEGU_CHUNKED);
}

static PyObject *Body_get_file(PyObject *self, void *unused)
{
    Reader *r = ((Body *)self)->reader;

    (void)unused;
    return Py_NewRef(r->kind == FROM && r->source ? r->source
                                                  : (PyObject *)r);
}

static PyObject *Body_write_to(PyObject *self, PyObject *file);

static PyMemberDef Body_members[] = {
    {"state", T_BYTE, offsetof(Body, state), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyGetSetDef Body_getset[] = {
    {"rfile", Body_get_file, NULL, NULL, NULL},
    {"content_length", Body_get_length, NULL, NULL, NULL},
    {"chunked", Body_get_chunked, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyGetSetDef ChunkedBody_getset[] = {
    {"rfile", Body_get_file, NULL, NULL, NULL},
    {"chunked", Body_get_chunked, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef Body_methods[] = {
    {"read", FASTCALL(Body_read), METH_FASTCALL,
     PyDoc_STR("read(size=None): size bytes, fewer only at the end; or all "
               "the rest.")},
    {"write_to", Body_write_to, METH_O,
     PyDoc_STR("write_to(wfile): write all of it; the number of bytes.")},
    {NULL, NULL, 0, NULL}};

static PyMethodDef ChunkedBody_methods[] = {
    {"readchunk", ChunkedBody_readchunk, METH_NOARGS,
     PyDoc_STR("readchunk(): the next chunk, (extension, data).")},
    {"read", ChunkedBody_read, METH_NOARGS,
     PyDoc_STR("read(): the data of all the rest.")},
    {"write_to", Body_write_to, METH_O,
     PyDoc_STR("write_to(wfile): write all of it, chunked; the number of "
               "bytes.")},
    {NULL, NULL, 0, NULL}};

static PyType_Slot Body_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Body(rfile, content_length): a body that "
                                  "is read from a file or a connection")},
    {Py_tp_new, SLOT(Body_new)},
    {Py_tp_dealloc, SLOT(Body_dealloc)},
    {Py_tp_traverse, SLOT(Body_traverse)},
    {Py_tp_repr, SLOT(Body_repr)},
    {Py_tp_iter, SLOT(Body_iter)},
    {Py_tp_iternext, SLOT(Body_next)},
    {Py_tp_members, Body_members},
    {Py_tp_getset, Body_getset},
    {Py_tp_methods, Body_methods},
    {0, NULL}};

static PyType_Spec Body_spec = {"degu.base.Body", sizeof(Body), 0, TYPE_FLAGS,
                                Body_slots};

static PyType_Slot ChunkedBody_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("ChunkedBody(rfile): a chunked body that is "
                                  "read from a file or a connection")},
    {Py_tp_new, SLOT(ChunkedBody_new)},
    {Py_tp_dealloc, SLOT(Body_dealloc)},
    {Py_tp_traverse, SLOT(Body_traverse)},
    {Py_tp_repr, SLOT(Body_repr)},
    {Py_tp_iter, SLOT(Body_iter)},
    {Py_tp_iternext, SLOT(ChunkedBody_next)},
    {Py_tp_members, Body_members},
    {Py_tp_getset, ChunkedBody_getset},
    {Py_tp_methods, ChunkedBody_methods},
    {0, NULL}};

static PyType_Spec ChunkedBody_spec = {"degu.base.ChunkedBody", sizeof(Body),
                                       0, TYPE_FLAGS, ChunkedBody_slots};

/* ======================================================================== */
/* Output                                                                   */
/* ======================================================================== */

/* A body on its way out, in the core's terms and in Python's. */
typedef struct Output {
    degu_body body;    /* for the core */
    PyObject *object;  /* borrowed: what the caller gave */
    Reader *to;        /* where it goes */
    Reader *from;      /* where an input body comes from */
    PyObject *source;  /* the iterator of a BodyIter or ChunkedBodyIter */
    PyObject *item;    /* what it yielded, in use until the next */
    Py_buffer view;    /* into item, or into object */
    degu_extension extension;
    bool has_view;
    bool pulled; /* the source has been asked */
    int fd;      /* our own, of a file that the kernel sends, or -1 */
} Output;

#define BYTES_LIKE "bytes, bytearray or memoryview"

/* types: what may stand there, for who gave something else. */
static int output_view(Output *out, const char *name, const char *types,
                       PyObject *object)
{
    if (!PyBytes_CheckExact(object) && !PyByteArray_CheckExact(object) &&
        !PyMemoryView_Check(object))
        return need_type(name, types, object);
    /* bytearray and memoryview count their views without a lock in 3.13. */
    Py_BEGIN_CRITICAL_SECTION(object);
    out->has_view = !PyObject_GetBuffer(object, &out->view, PyBUF_SIMPLE);
    Py_END_CRITICAL_SECTION();
    return out->has_view ? 0 : -1;
}

static void output_drop(Output *out)
{
    PyObject *viewed = out->has_view ? Py_NewRef(out->view.obj) : NULL;

    if (viewed) {
        Py_BEGIN_CRITICAL_SECTION(viewed);
        PyBuffer_Release(&out->view);
        Py_END_CRITICAL_SECTION();
        Py_DECREF(viewed);
    }
    out->has_view = false;
    Py_CLEAR(out->item);
}

/* Asks the source of a body, or its iterator, for something.  That of an
   answer may read the request's body, so the core is left for the time. */
static PyObject *ask_source(Reader *to, PyObject *(*ask)(PyObject *),
                            PyObject *source)
{
    PyObject *got;

    to->known = 0;
    if (to->kind != SERVED)
        return ask(source);
    reader_leave(to);
    got = ask(source);
    if (reader_oust(to) && got) {
        Py_CLEAR(got);
        PyErr_SetString(PyExc_RuntimeError,
                        "another thread reads the request's body");
    }
    return got;
}

static PyObject *source_next(Output *out)
{
    return ask_source(out->to, PyIter_Next, out->source);
}

/* The next item of the source: 1, 0 at its end, -1 if it raised. */
static int output_next(Output *out)
{
    out->pulled = true;
    output_drop(out);
    out->item = source_next(out);
    return out->item ? 1 : PyErr_Occurred() ? -1 : 0;
}

/* Empty items are skipped, as to the core an empty piece is the end. */
static degu_err pull_piece(void *ctx, degu_str *piece)
{
    Output *out = ctx;
    int more;

    for (;;) {
        more = output_next(out);
        if (more < 0)
            break;
        *piece = degu_bytes(NULL, 0);
        if (!more)
            return DEGU_OK;
        if (output_view(out, "BodyIter source item", BYTES_LIKE, out->item))
            break;
        if (out->view.len > 0) {
            *piece = degu_bytes(out->view.buf, (size_t)out->view.len);
            return DEGU_OK;
        }
    }
    return hold_exception(out->to, DEGU_E_SOURCE);
}

static int need_pair(const char *name, PyObject *object)
{
    if (PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) == 2)
        return 0;
    return need_type(name, "a 2-tuple", object);
}

static int get_extension(PyObject *pair, degu_extension *extension)
{
    PyObject *value;

    if (need_pair("chunk[0]", pair) ||
        text_view("chunk extension key", PyTuple_GET_ITEM(pair, 0),
                  &extension->key))
        return -1;
    value = PyTuple_GET_ITEM(pair, 1);
    extension->escaped = false;
    extension->value = degu_bytes(NULL, 0);
    return value == Py_None
               ? 0
               : text_view("chunk extension value", value, &extension->value);
}

static int get_chunk(Output *out, degu_chunk_out *chunk)
{
    PyObject *extension;

    if (need_pair("chunk", out->item))
        return -1;
    extension = PyTuple_GET_ITEM(out->item, 0);
    chunk->count = 0;
    if (extension != Py_None) {
        if (get_extension(extension, &out->extension))
            return -1;
        chunk->extensions = &out->extension;
        chunk->count = 1;
    }
    if (output_view(out, "chunk[1]", BYTES_LIKE,
                    PyTuple_GET_ITEM(out->item, 1)))
        return -1;
    if (out->view.len > DEGU_CHUNK_MAX) {
        PyErr_Format(PyExc_ValueError, "need len(chunk[1]) <= %d; got %zd",
                     DEGU_CHUNK_MAX, out->view.len);
        return -1;
    }
    chunk->data = degu_bytes(out->view.buf, (size_t)out->view.len);
    return 0;
}

/* The empty chunk must be the last that the source has. */
static int check_last(Output *out)
{
    PyObject *more = source_next(out);

    if (!more)
        return PyErr_Occurred() ? -1 : 0;
    Py_DECREF(more);
    PyErr_SetString(PyExc_ValueError,
                    "additional chunk after empty chunk data");
    return -1;
}

static degu_err pull_chunk(void *ctx, degu_chunk_out *chunk)
{
    Output *out = ctx;
    int more = output_next(out);

    if (more == 0)
        PyErr_SetString(PyExc_ValueError, "final chunk data was not empty");
    if (more > 0 && !get_chunk(out, chunk) &&
        (chunk->data.len > 0 || !check_last(out)))
        return DEGU_OK;
    return hold_exception(out->to, DEGU_E_SOURCE);
}

/* A BodyIter or ChunkedBodyIter, whose state is kept by _values.py. */
static int get_state(State *st, PyObject *iter, long *state)
{
    PyObject *number = PyObject_GetAttr(iter, st->object[O_STATE]);

    *state = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    return PyErr_Occurred() ? -1 : 0;
}

static void set_state(State *st, PyObject *iter, long state)
{
    PyObject *number = PyLong_FromLong(state);

    if (!number || PyObject_SetAttr(iter, st->object[O_STATE], number))
        PyErr_WriteUnraisable(iter);
    Py_XDECREF(number);
}

/* READY to STARTED, for one thread alone: the attribute is a slot, which is
   read and set without running Python. */
static int start_iter(State *st, PyObject *iter, bool chunked)
{
    long state;
    int failed;

#ifdef Py_GIL_DISABLED
    PyMutex_Lock(&st->iter_lock);
#endif
    failed = get_state(st, iter, &state);
    if (!failed && state == READY)
        set_state(st, iter, STARTED);
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&st->iter_lock);
#endif
    if (failed || state == READY)
        return failed;
    return state_error(chunked ? "ChunkedBodyIter" : "BodyIter", (int)state);
}

static int open_iter(State *st, Output *out, PyObject *iter)
{
    bool chunked = (PyObject *)Py_TYPE(iter) ==
                   st->object[O_CHUNKED_BODY_ITER];
    PyObject *source, *number;
    uint64_t length = 0;

    if (start_iter(st, iter, chunked))
        return -1;
    number = PyObject_GetAttr(iter, st->object[O_LENGTH]);
    if (number && !get_length("content_length", number, &length)) {
        source = PyObject_GetAttr(iter, st->object[O_SOURCE]);
        out->source = source ? ask_source(out->to, PyObject_GetIter, source)
                             : NULL;
        Py_XDECREF(source);
    }
    Py_XDECREF(number);
    if (!out->source) {
        PyObject *exception = take_exception();
        set_state(st, iter, ERROR);
        give_exception(exception);
        return -1;
    }
    out->body = chunked ? degu_body_chunks(pull_chunk, out)
                        : degu_body_pull(pull_piece, out, length);
    return 0;
}

/* ---- files that the kernel sends ---- */

/* Is it a file without a buffer, io.FileIO itself? */
static int is_plain_file(State *st, PyObject *file)
{
    PyObject *type = import_object(st, O_FILE_IO, "io", "FileIO");

    return type ? (PyObject *)Py_TYPE(file) == type : -1;
}

static ptrdiff_t push_file(void *ctx, uint64_t left, unsigned flags)
{
    Output *out = ctx;
    Reader *to = out->to;
    PyThreadState *thread;
    ptrdiff_t n = DEGU_E_INTERRUPTED;

    while (n == DEGU_E_INTERRUPTED && may_wait(to)) {
        thread = PyEval_SaveThread();
        n = degu_socket_send_file(to->socket, out->fd, left, flags);
        PyEval_RestoreThread(thread);
        to->known = 0;
        flags &= ~DEGU_IO_BEGIN;
    }
    if (n == DEGU_E_SOURCE) {
        raise_system(errno);
        hold_exception(to, DEGU_E_SOURCE);
    }
    return n;
}

/* A descriptor of our own if body is a large part of a regular file, on its way
   to a plain socket: the file's own may be closed meanwhile by another thread,
   and its number become another file's.  -1 if it is not, or none is to be had;
   -2 with an exception. */
static int open_for_kernel(const Output *out, const Body *b)
{
    struct stat about;
    int fd, plain;

    if (b->reader->kind != FROM || b->framing != DEGU_LENGTH ||
        b->length < DEGU_STEP_BYTES || !out->to->socket ||
        is_secure(out->to))
        return -1;
    plain = is_plain_file(b->reader->st, b->reader->source);
    if (plain <= 0)
        return plain - 1;
    fd = PyObject_AsFileDescriptor(b->reader->source);
    if (fd < 0)
        return -2;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode))
        return -1;
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* What it reads from is entered until output_leave(). */
static int open_input(Output *out, Body *b)
{
    if (b->reader == out->to ? body_check(b, true) : body_begin(b, true))
        return -1;
    out->fd = open_for_kernel(out, b);
    if (out->fd < -1) {
        if (b->reader != out->to)
            reader_leave(b->reader);
        return -1;
    }
    POKE(b->state, STARTED);
    out->from = b->reader;
    out->body = out->fd >= 0 ? degu_body_push(push_file, out, b->length)
                             : degu_body_relay(b->reader->conn);
    return 0;
}

/* Prepares object as a body on its way to a Reader.  After 0 output_close() and
   output_leave() must follow. */
static int output_open(State *st, Output *out, Reader *to, PyObject *object)
{
    PyObject *type = (PyObject *)Py_TYPE(object);

    out->object = object;
    out->to = to;
    out->from = NULL;
    out->source = out->item = NULL;
    out->has_view = out->pulled = false;
    out->fd = -1;
    if (object == Py_None) {
        out->body = degu_no_body();
        return 0;
    }
    if (PyBytes_CheckExact(object)) {
        out->body = degu_body_bytes(PyBytes_AS_STRING(object),
                                    (size_t)PyBytes_GET_SIZE(object));
        return 0;
    }
    if (type == (PyObject *)st->type[T_BODY] ||
        type == (PyObject *)st->type[T_CHUNKED_BODY])
        return open_input(out, (Body *)object);
    if (type == st->object[O_BODY_ITER] ||
        type == st->object[O_CHUNKED_BODY_ITER])
        return open_iter(st, out, object);
    if (output_view(out, "body",
                    "bytes, bytearray, memoryview, a Body, BodyIter, "
                    "ChunkedBody or ChunkedBodyIter, or None",
                    object))
        return -1;
    out->body = degu_body_bytes(out->view.buf, (size_t)out->view.len);
    return 0;
}

/* An input body after it was relayed: read to its end, untouched, or broken;
   then its own connection is of no more use. */
static void close_input(Output *out, degu_err err)
{
    Body *b = (Body *)out->object;
    Reader *r = out->from;

    if (out->fd >= 0)
        close(out->fd);
    if (!err) {
        b->rest = 0;
        POKE(b->state, CONSUMED);
    } else if (degu_conn_is_open(out->to->conn) &&
               !degu_conn_has_sent(out->to->conn) &&
               degu_conn_is_open(r->conn)) {
        POKE(b->state, READY);
    } else {
        POKE(b->state, ERROR);
        if (r->kind == SERVED && r->conn)
            degu_conn_close_after(r->conn);
    }
    if (b->state != READY && r != out->to && r->kind != FROM &&
        (b->state == ERROR || !degu_conn_is_open(r->conn)))
        reader_close(r);
    if (r == out->to || !r->exception)
        return;
    Py_XSETREF(out->to->exception, r->exception);
    r->exception = NULL;
}

/* Gives back what output_open() took, err being the outcome; all but the Reader
   of an input body, of which err may still have to be explained. */
static void output_close(Output *out, degu_err err)
{
    output_drop(out);
    if (out->from)
        close_input(out, err);
    if (out->source) {
        set_state(out->to->st, out->object,
                  !err ? CONSUMED : out->pulled ? ERROR : READY);
        Py_DECREF(out->source);
    }
}

/* Raises what sending met: on the way out, or where an input body comes from,
   which is then known for the request's fault. */
static void output_raise(Output *out, degu_err err, const char *about)
{
    Reader *r = out->from;

    if (!r || out->to->exception || degu_conn_read_error(r->conn) != err) {
        reader_raise(out->to, err, about);
        return;
    }
    reader_raise(r, err, NULL);
    remember_fault(r, err);
}

static void output_leave(Output *out)
{
    if (out->from && out->from != out->to)
        reader_leave(out->from);
}

/* write_to() of all kinds of bodies. */
static PyObject *write_body(State *st, PyObject *body, PyObject *file)
{
    Reader *to = reader_into(st, file);
    PyObject *result = NULL;
    uint64_t sent = 0;
    degu_err err;
    Output out;

    if (!to)
        return NULL;
    if (!output_open(st, &out, to, body)) {
        err = degu_send_body(to->conn, out.body, &sent);
        output_close(&out, err);
        if (err)
            output_raise(&out, err, NULL);
        else
            result = PyLong_FromUnsignedLongLong(sent);
        output_leave(&out);
    }
    Py_DECREF(to);
    return result;
}

static PyObject *Body_write_to(PyObject *self, PyObject *file)
{
    return write_body(state_of(self), self, file);
}

/* ======================================================================== */
/* Request                                                                  */
/* ======================================================================== */

/* Attributes, and a dict of the same.

   The attributes are what apps use, so they are members of the struct, which
   Python reads faster than anything else.  The dict is filled when somebody
   asks for it, by request_fill(); until then it has one key, as what reads a
   dict past its methods (json) may take an empty one at its word, and a
   stand-in for its value.  Whatever changes the dict ends in request_sync().
   When a Request goes whose dict was not asked for, it is kept for the next. */
typedef struct Request {
    PyDictObject dict;
    PyObject *item[ITEM_COUNT];
    int m;
    bool filled;
    bool changed; /* not made by the server, or not as it made it */
} Request;

static int method_index(degu_method method)
{
    int i = 0;

    while (1 << i < (int)method)
        i++;
    return i;
}

static PyObject *path_list(State *st, degu_str path)
{
    PyObject *list = PyList_New(0), *text;
    degu_str part;
    int failed;

    while (list && degu_next_part(&path, &part)) {
        text = cached_text(st, part);
        failed = text ? PyList_Append(list, text) : -1;
        Py_XDECREF(text);
        if (failed)
            Py_CLEAR(list);
    }
    return list;
}

/* One without items, which the collector does not know yet. */
static Request *request_alloc(State *st)
{
    PyTypeObject *type = st->type[T_REQUEST];
    PyObject *self = SHARES ? st->spare : NULL;

    if (self) {
        st->spare = NULL;
        return (Request *)PyObject_Init(self, type);
    }
    self = PyDict_Type.tp_new(type, st->object[O_NO_ARGS], NULL);
    if (!self)
        return NULL;
    PyObject_GC_UnTrack(self);
    if (PyDict_SetItem(self, st->item[METHOD], st->object[O_STAND_IN]))
        Py_CLEAR(self);
    return (Request *)self;
}

static int request_fill(PyObject *self)
{
    Request *q = (Request *)self;
    State *st = state_of(self);
    int i;

    if (q->filled)
        return 0;
    for (i = 0; i < ITEM_COUNT && !q->filled; i++) {
        if (PyDict_SetItem(self, st->item[i], q->item[i]))
            return -1;
    }
    q->filled = true;
    return 0;
}

/* Makes one of a new reference to each item; NULL if one is missing. */
static PyObject *request_make(State *st, int m, PyObject **item)
{
    Request *q = request_alloc(st);
    bool complete = q != NULL;
    int i;

    for (i = 0; i < ITEM_COUNT; i++) {
        complete = complete && item[i];
        if (q)
            q->item[i] = item[i];
        else
            Py_XDECREF(item[i]);
    }
    if (!q)
        return NULL;
    q->m = m;
    q->changed = false;
    PyObject_GC_Track((PyObject *)q);
    /* Two threads cannot fill it at a time if it is full. */
    if (complete && (SHARES || !request_fill((PyObject *)q)))
        return (PyObject *)q;
    Py_DECREF((PyObject *)q);
    return NULL;
}

static PyObject *request_new(Reader *r, const degu_request *q)
{
    State *st = r->st;
    PyObject *item[ITEM_COUNT];

    item[METHOD] = Py_NewRef(st->method[method_index(q->method)]);
    item[URI] = cached_text(st, q->target);
    item[SCRIPT] = PyList_New(0);
    item[PATH] = path_list(st, q->path);
    item[QUERY] = q->query.ptr ? new_text(q->query.ptr, q->query.len)
                               : Py_NewRef(Py_None);
    item[HEADERS] = reader_headers(r, &q->fields);
    item[BODY] = q->framing == DEGU_NO_BODY
                     ? Py_NewRef(Py_None)
                     : body_new(r, q->framing, q->content_length);
    return request_make(st, q->method, item);
}

static PyObject *Request_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"method", "uri", "headers", "body",
                            "mount", "path", "query", NULL};
    State *st = PyType_GetModuleState(type);
    PyObject *item[ITEM_COUNT], *self;
    degu_method m;
    degu_str view;
    int i;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "OOOOOOO:Request", names,
                                     &item[METHOD], &item[URI],
                                     &item[HEADERS], &item[BODY],
                                     &item[SCRIPT], &item[PATH],
                                     &item[QUERY]) ||
        text_view("method", item[METHOD], &view))
        return NULL;
    if (degu_parse_method(view, &m))
        return PyErr_Format(PyExc_ValueError, "bad method: %R", item[METHOD]);
    if (need_list("mount", item[SCRIPT]) || need_list("path", item[PATH]))
        return NULL;
    for (i = 0; i < ITEM_COUNT; i++)
        Py_INCREF(item[i]);
    self = request_make(st, m, item);
    if (self)
        ((Request *)self)->changed = true;
    return self;
}

/* Nothing is left to do; dict's own would take the arguments as items. */
static int Request_init(PyObject *self, PyObject *args, PyObject *kw)
{
    (void)self;
    (void)args;
    (void)kw;
    return 0;
}

static int Request_traverse(PyObject *self, visitproc visit, void *arg)
{
    int found;

    Py_VISIT(Py_TYPE(self));
    found = visit_fields(((Request *)self)->item, ITEM_COUNT, visit, arg);
    return found ? found : PyDict_Type.tp_traverse(self, visit, arg);
}

static int Request_tp_clear(PyObject *self)
{
    Request *q = (Request *)self;

    q->filled = true; /* there is nothing to fill it with from here on */
    clear_fields(q->item, ITEM_COUNT);
    return PyDict_Type.tp_clear(self);
}

/* Is the dict as request_alloc() makes it?  Who goes past Request, with
   dict.__setitem__() or as the __dict__ of something, leaves what is nothing to
   the next Request, which may be another client's. */
static bool is_untouched(State *st, PyObject *self)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    return !((Request *)self)->filled && PyDict_GET_SIZE(self) == 1 &&
           PyDict_Next(self, &at, &key, &value) &&
           key == st->item[METHOD] && value == st->object[O_STAND_IN];
}

static void request_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    /* NULL at the end of the interpreter, which clears types too. */
    PyObject *module = ((PyHeapTypeObject *)type)->ht_module;
    State *st = module ? PyModule_GetState(module) : NULL;

    clear_fields(((Request *)self)->item, ITEM_COUNT);
    if (st && st->keeps_spare && !st->spare && is_untouched(st, self))
        st->spare = self;
    else
        PyDict_Type.tp_dealloc(self);
    Py_DECREF(type);
}

static void Request_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    if (!((Request *)self)->changed) {
        request_free(self);
        return;
    }
    /* It may hold another that holds another, and so on. */
    Py_TRASHCAN_BEGIN(self, Request_dealloc)
    request_free(self);
    Py_TRASHCAN_END
}

/* When the module goes; the type is still there. */
static void spare_drop(State *st)
{
    PyObject *self = st->spare;

    st->keeps_spare = false;
    st->spare = NULL;
    if (self)
        Py_DECREF(PyObject_Init(self, st->type[T_REQUEST]));
}

/* ---- a dict ---- */

/* Attributes are what the items are, and are not there without them. */
static int sync_items(PyObject *self)
{
    Request *q = (Request *)self;
    State *st = state_of(self);
    PyObject *value;
    int i, failed = 0;

    Py_BEGIN_CRITICAL_SECTION(self);
    POKE(q->changed, true);
    for (i = 0; i < ITEM_COUNT && !failed; i++) {
        value = value_of(self, st->item[i]);
        failed = !value && PyErr_Occurred();
        if (!failed)
            put_object(&q->item[i], value);
    }
    Py_END_CRITICAL_SECTION();
    return failed ? -1 : 0;
}

/* An item that another thread may be setting: a new reference, or NULL. */
static PyObject *take_item(PyObject *self, int index)
{
    PyObject *item;

    Py_BEGIN_CRITICAL_SECTION(self);
    item = Py_XNewRef(((Request *)self)->item[index]);
    Py_END_CRITICAL_SECTION();
    return item;
}

static PyObject *Request_repr(PyObject *self)
{
    PyObject *item[ITEM_COUNT], *text = NULL;
    int i, again = Py_ReprEnter(self);
    bool complete = true;

    if (again)
        return again < 0 ? NULL : PyUnicode_FromString("Request(...)");
    /* What one of them does when it is asked may be to set another. */
    for (i = 0; i < ITEM_COUNT; i++) {
        item[i] = take_item(self, i);
        complete = complete && item[i];
    }
    if (complete)
        text = PyUnicode_FromFormat(
            "Request(method=%R, uri=%R, headers=%R, body=%R, mount=%R, "
            "path=%R, query=%R)",
            item[METHOD], item[URI], item[HEADERS], item[BODY], item[SCRIPT],
            item[PATH], item[QUERY]);
    else
        text = PyDict_Type.tp_repr(self);
    clear_fields(item, ITEM_COUNT);
    Py_ReprLeave(self);
    return text;
}

/* Behind a change that may have raised something half way through, which is
   what stays raised. */
static int request_sync(PyObject *self)
{
    PyObject *exception = take_exception();

    if (!exception)
        return sync_items(self);
    if (sync_items(self))
        PyErr_Clear();
    give_exception(exception);
    return -1;
}

/* Of a dict that nobody has asked for yet, one item, if key is the very object
   that an app's source has for it; else NULL. */
static PyObject *item_unfilled(PyObject *self, PyObject *key)
{
    const Request *q = (Request *)self;
    const State *st = state_of(self);
    int i;

    for (i = 0; i < ITEM_COUNT && !q->filled; i++) {
        if (key == st->item[i])
            return Py_NewRef(q->item[i]);
    }
    return NULL;
}

static PyObject *Request_subscript(PyObject *self, PyObject *key)
{
    PyObject *item = item_unfilled(self, key);

    if (item || request_fill(self))
        return item;
    return PyDict_Type.tp_as_mapping->mp_subscript(self, key);
}

static int Request_assign(PyObject *self, PyObject *key, PyObject *value)
{
    if (request_fill(self))
        return -1;
    if (value)
        (void)PyDict_SetItem(self, key, value);
    else
        (void)PyDict_DelItem(self, key);
    return request_sync(self);
}

static Py_ssize_t Request_length(PyObject *self)
{
    return request_fill(self) ? -1 : PyDict_GET_SIZE(self);
}

static int Request_contains(PyObject *self, PyObject *key)
{
    return request_fill(self) ? -1 : PyDict_Contains(self, key);
}

static PyObject *Request_iter(PyObject *self)
{
    return request_fill(self) ? NULL : PyDict_Type.tp_iter(self);
}

static PyObject *Request_or(PyObject *a, PyObject *b)
{
    return PyDict_Type.tp_as_number->nb_or(a, b);
}

static PyObject *Request_or_in_place(PyObject *self, PyObject *other)
{
    PyObject *result = NULL;

    if (request_fill(self))
        return NULL;
    result = PyDict_Type.tp_as_number->nb_inplace_or(self, other);
    if (request_sync(self))
        Py_CLEAR(result);
    return result;
}

/* One request is another only if it is the same; a dict may hold as much. */
static PyObject *Request_compare(PyObject *self, PyObject *other, int op)
{
    if (Py_TYPE(self) == Py_TYPE(other))
        return PyBaseObject_Type.tp_richcompare(self, other, op);
    return request_fill(self) ? NULL
                              : PyDict_Type.tp_richcompare(self, other, op);
}

static Py_hash_t Request_hash(PyObject *self)
{
    return PyBaseObject_Type.tp_hash(self);
}

/* Calls dict's method of this name. */
static PyObject *request_call(PyObject *self, const char *name, PyObject *args,
                              PyObject *kw)
{
    PyObject *method = PyObject_GetAttrString((PyObject *)&PyDict_Type, name);
    PyObject *first = method ? PyTuple_Pack(1, self) : NULL;
    PyObject *all = first ? PySequence_Concat(first, args) : NULL;
    PyObject *result = NULL;

    if (all && !request_fill(self)) {
        result = PyObject_Call(method, all, kw);
        if (request_sync(self))
            Py_CLEAR(result);
    }
    Py_XDECREF(method);
    Py_XDECREF(first);
    Py_XDECREF(all);
    return result;
}

#define OF_DICT(name)                                                         \
    static PyObject *Request_##name(PyObject *self, PyObject *args,           \
                                    PyObject *kw)                             \
    {                                                                         \
        return request_call(self, #name, args, kw);                           \
    }

OF_DICT(__reversed__)
OF_DICT(clear)
OF_DICT(copy)
OF_DICT(get)
OF_DICT(items)
OF_DICT(keys)
OF_DICT(pop)
OF_DICT(popitem)
OF_DICT(setdefault)
OF_DICT(update)
OF_DICT(values)

static PyObject *Request_reduce(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyErr_Format(PyExc_TypeError, "cannot pickle '%s' object",
                        Py_TYPE(self)->tp_name);
}

/* ---- routing ---- */

/* Moves the first part of a list path to the end of mount. */
static PyObject *shift(PyObject *mount, PyObject *path)
{
    PyObject *part = item_of(path, 0);

    if (!part)
        Py_RETURN_NONE;
    if (PyList_Append(mount, part) || PyList_SetSlice(path, 0, 1, NULL))
        Py_CLEAR(part);
    return part;
}

static PyObject *Request_shift_path(PyObject *self, PyObject *unused)
{
    PyObject *mount = take_item(self, SCRIPT), *path = take_item(self, PATH);
    PyObject *part = NULL;

    (void)unused;
    if (!need_list("mount", mount) && !need_list("path", path))
        part = shift(mount, path);
    Py_XDECREF(mount);
    Py_XDECREF(path);
    return part;
}

static PyObject *proxy_uri(PyObject *path, PyObject *query)
{
    PyObject *slash, *joined, *uri = NULL;

    if (need_list("path", path))
        return NULL;
    slash = PyUnicode_FromString("/");
    joined = slash ? PyUnicode_Join(slash, path) : NULL;
    if (joined && (!query || query == Py_None))
        uri = PyUnicode_Concat(slash, joined);
    else if (joined && !PyUnicode_Check(query))
        need_type("query", "a str or None", query);
    else if (joined)
        uri = PyUnicode_FromFormat("/%U?%U", joined, query);
    Py_XDECREF(slash);
    Py_XDECREF(joined);
    return uri;
}

/* What is left of the target below mount.  It is checked when it is sent. */
static PyObject *Request_build_proxy_uri(PyObject *self, PyObject *unused)
{
    PyObject *path = take_item(self, PATH), *query = take_item(self, QUERY);
    PyObject *uri = proxy_uri(path, query);

    (void)unused;
    Py_XDECREF(path);
    Py_XDECREF(query);
    return uri;
}

#define ITEM(name, index)                                                     \
    {name, T_OBJECT_EX,                                                       \
     offsetof(Request, item) + (index) * sizeof(PyObject *), READONLY, NULL}

static PyMemberDef Request_members[] = {
    ITEM("method", METHOD),
    ITEM("uri", URI),
    ITEM("headers", HEADERS),
    ITEM("body", BODY),
    ITEM("mount", SCRIPT),
    ITEM("script", SCRIPT),
    ITEM("path", PATH),
    ITEM("query", QUERY),
    {"m", T_INT, offsetof(Request, m), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

#define DICT_METHOD(name)                                                     \
    {#name, FASTCALL(Request_##name), METH_VARARGS | METH_KEYWORDS, NULL}

static PyMethodDef Request_methods[] = {
    {"shift_path", Request_shift_path, METH_NOARGS,
     PyDoc_STR("shift_path(): move the first part of path to mount and return "
               "it; None if there is none.")},
    {"build_proxy_uri", Request_build_proxy_uri, METH_NOARGS,
     PyDoc_STR("build_proxy_uri(): the uri that path and query make.")},
    DICT_METHOD(__reversed__),
    DICT_METHOD(clear),
    DICT_METHOD(copy),
    DICT_METHOD(get),
    DICT_METHOD(items),
    DICT_METHOD(keys),
    DICT_METHOD(pop),
    DICT_METHOD(popitem),
    DICT_METHOD(setdefault),
    DICT_METHOD(update),
    DICT_METHOD(values),
    {"__reduce__", Request_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot Request_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Request(method, uri, headers, body, mount, "
                                  "path, query): what a client asks")},
    {Py_tp_new, SLOT(Request_new)},
    {Py_tp_init, SLOT(Request_init)},
    {Py_tp_dealloc, SLOT(Request_dealloc)},
    {Py_tp_richcompare, SLOT(Request_compare)},
    {Py_tp_hash, SLOT(Request_hash)},
    {Py_tp_iter, SLOT(Request_iter)},
    {Py_mp_length, SLOT(Request_length)},
    {Py_sq_contains, SLOT(Request_contains)},
    {Py_mp_subscript, SLOT(Request_subscript)},
    {Py_mp_ass_subscript, SLOT(Request_assign)},
    {Py_nb_or, SLOT(Request_or)},
    {Py_nb_inplace_or, SLOT(Request_or_in_place)},
    {Py_tp_traverse, SLOT(Request_traverse)},
    {Py_tp_clear, SLOT(Request_tp_clear)},
    {Py_tp_repr, SLOT(Request_repr)},
    {Py_tp_members, Request_members},
    {Py_tp_methods, Request_methods},
    {0, NULL}};

static PyType_Spec Request_spec = {"degu.base.Request", sizeof(Request), 0,
                                   TYPE_FLAGS, Request_slots};

/* ======================================================================== */
/* Connection                                                               */
/* ======================================================================== */

typedef struct Connection {
    PyObject_HEAD
    Reader *reader;
    PyObject *base_headers; /* None, or a tuple of pairs */
} Connection;

/* Base headers are checked once, when the connection is made. */
static int add_base(State *st, Lines *lines, PyObject *base)
{
    Py_ssize_t i;
    PyObject *pair;

    if (base == Py_None)
        return 0;
    for (i = 0; i < PyTuple_GET_SIZE(base); i++) {
        pair = PyTuple_GET_ITEM(base, i);
        if (add_line(st, lines, PyTuple_GET_ITEM(pair, 0),
                     PyTuple_GET_ITEM(pair, 1)))
            return -1;
    }
    return 0;
}

static int check_base(State *st, PyObject *base)
{
    Py_ssize_t i;
    Lines lines;

    if (base == Py_None)
        return 0;
    if (!PyTuple_CheckExact(base))
        return need_type("base_headers", "a tuple", base);
    for (i = 0; i < PyTuple_GET_SIZE(base); i++) {
        if (need_pair("base_headers item", PyTuple_GET_ITEM(base, i)))
            return -1;
    }
    lines_init(&lines);
    i = add_base(st, &lines, base);
    lines_drop(&lines);
    return (int)i;
}

static PyObject *Connection_new(PyTypeObject *type, PyObject *args,
                                PyObject *kw)
{
    static char *names[] = {"sock", "base_headers", "min_rate", "spin_us",
                            NULL};
    State *st = PyType_GetModuleState(type);
    PyObject *sock, *base = Py_None;
    unsigned min_rate = DEGU_MIN_RATE, spin_us = 0;
    Connection *c;
    Reader *r;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|OII:Connection", names,
                                     &sock, &base, &min_rate, &spin_us) ||
        check_base(st, base))
        return NULL;
    /* Before there is a Connection, which the collector would show to what is
       asked of sock. */
    r = reader_client(st, sock);
    if (!r)
        return NULL;
    if (r->socket) {
        r->socket->min_rate = min_rate;
        r->socket->spin_us = spin_us;
    }
    c = (Connection *)type->tp_alloc(type, 0);
    if (!c) {
        r->closed = 1; /* not ours yet */
        Py_DECREF((PyObject *)r);
        return NULL;
    }
    c->reader = r;
    c->base_headers = Py_NewRef(base);
    return (PyObject *)c;
}

static int Connection_traverse(PyObject *self, visitproc visit, void *arg)
{
    Connection *c = (Connection *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->reader);
    Py_VISIT(c->base_headers);
    return 0;
}

/* No tp_clear: a cycle can only lead through the Reader, which has one. */
static void Connection_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_CLEAR(((Connection *)self)->reader);
    Py_CLEAR(((Connection *)self)->base_headers);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- one exchange ---- */

static PyObject *response_new(State *st, PyObject *status, PyObject *reason,
                              PyObject *headers, PyObject *body)
{
    PyTypeObject *type = (PyTypeObject *)st->object[O_RESPONSE];
    PyObject *self = NULL;

    if (status && reason && headers && body)
        self = type->tp_alloc(type, 4);
    if (!self) {
        Py_XDECREF(status);
        Py_XDECREF(reason);
        Py_XDECREF(headers);
        Py_XDECREF(body);
        return NULL;
    }
    PyTuple_SET_ITEM(self, 0, status);
    PyTuple_SET_ITEM(self, 1, reason);
    PyTuple_SET_ITEM(self, 2, headers);
    PyTuple_SET_ITEM(self, 3, body);
    return self;
}

static PyObject *read_response(Reader *r)
{
    State *st = r->st;
    degu_response p;
    degu_err err = degu_read_response(r->conn, &p);
    PyObject *response;

    if (err) {
        reader_raise(r, err, err == DEGU_E_CLOSED
                                 ? "the request was sent, and no answer came"
                                 : NULL);
        return NULL;
    }
    POKE(r->serial, r->serial + 1);
    response = response_new(st, PyLong_FromLong(p.status),
                            cached_text(st, p.reason),
                            reader_headers(r, &p.fields),
                            p.framing == DEGU_NO_BODY
                                ? Py_NewRef(Py_None)
                                : body_new(r, p.framing, p.content_length));
    /* A body closes the connection when it has been read. */
    if (!response || (p.framing == DEGU_NO_BODY &&
                      !degu_conn_is_open(r->conn)))
        reader_close(r);
    return response;
}

/* How far a request got. */
typedef struct Progress {
    bool sent;
    bool answered;
} Progress;

/* Tells it to whoever catches the exception. */
static void note_progress(State *st, Progress progress)
{
    PyObject **o = st->object;
    PyObject *exception = take_exception();

    if ((PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_OSError) ||
         PyObject_TypeCheck(exception, (PyTypeObject *)o[O_DEGU_ERROR])) &&
        (PyObject_SetAttr(exception, o[O_SENT],
                          progress.sent ? Py_True : Py_False) ||
         PyObject_SetAttr(exception, o[O_ANSWERED],
                          progress.answered ? Py_True : Py_False)))
        PyErr_Clear(); /* one of a class that does not want it */
    give_exception(exception);
}

/* Sends a request: 0, or -1 with an exception.  A body that broke off because
   the other end hung up may have been answered early (RFC 9112 9.5). */
static int send_request(Reader *r, degu_method method, degu_str target,
                        Lines *lines, PyObject *body, bool *in_turn)
{
    Output out;
    degu_err err;
    char text[96];
    int failed = 0;

    if (output_open(r->st, &out, r, body))
        return -1;
    *in_turn = degu_conn_is_idle(r->conn) && degu_conn_is_open(r->conn);
    err = degu_send_request(r->conn, method, target, lines->at, lines->count,
                            out.body);
    output_close(&out, err);
    if (err && !(err == DEGU_E_RESET && !r->exception &&
                 degu_conn_has_sent(r->conn) &&
                 !(out.from && degu_conn_read_error(out.from->conn)))) {
        output_raise(&out, err,
                     err == DEGU_E_CLOSED || err == DEGU_E_UNASKED
                         ? "nothing was sent"
                         : find_culprit(lines, err, text, sizeof text));
        failed = -1;
    }
    output_leave(&out);
    return failed;
}

static PyObject *exchange(Connection *c, degu_method method, PyObject *uri,
                          PyObject *headers, PyObject *body)
{
    Reader *r = c->reader;
    PyObject *response = NULL;
    Progress progress = {false, false};
    bool in_turn = false;
    degu_str target;
    Lines lines;

    if (text_view("uri", uri, &target))
        return NULL;
    lines_init(&lines);
    if (!add_base(r->st, &lines, c->base_headers) &&
        (headers == Py_None || !add_headers(r->st, &lines, headers)) &&
        !reader_enter(r)) {
        if (PEEK(r->closed) || !r->conn)
            raise_error(r->st, DEGU_E_FINISHED, 0, NULL, NULL);
        else if (!check_descriptor(r) && !(r->heard = 0) &&
                 !send_request(r, method, target, &lines, body, &in_turn))
            response = read_response(r);
        if (in_turn) {
            progress.sent = degu_conn_has_sent(r->conn);
            progress.answered = degu_conn_is_answered(r->conn);
        }
        if (!response && r->conn && !degu_conn_is_open(r->conn))
            reader_close(r);
        reader_leave(r);
    }
    if (!response)
        note_progress(r->st, progress);
    lines_drop(&lines);
    return response;
}

/* ---- methods ---- */

/* What a method takes: by position or by name, and None for the rest. */
typedef struct Signature {
    const char *method;
    int required;
    int count;
    const char *name[4];
} Signature;

static int take_named(const Signature *sig, PyObject *name, PyObject *value,
                      PyObject **taken)
{
    int i;

    for (i = 0; i < sig->count; i++) {
        if (!PyUnicode_CompareWithASCIIString(name, sig->name[i])) {
            if (!taken[i]) {
                taken[i] = value;
                return 0;
            }
            PyErr_Format(PyExc_TypeError, "Connection.%s(): %U is given twice",
                         sig->method, name);
            return -1;
        }
    }
    PyErr_Format(PyExc_TypeError, "Connection.%s() has no argument %R",
                 sig->method, name);
    return -1;
}

static int take_args(const Signature *sig, PyObject *const *args,
                     Py_ssize_t count, PyObject *names, PyObject **taken)
{
    Py_ssize_t i, named = names ? PyTuple_GET_SIZE(names) : 0;

    if (count > sig->count) {
        PyErr_Format(PyExc_TypeError,
                     "Connection.%s() takes at most %d arguments; got %zd",
                     sig->method, sig->count, count);
        return -1;
    }
    for (i = 0; i < sig->count; i++)
        taken[i] = i < count ? args[i] : NULL;
    for (i = 0; i < named; i++) {
        if (take_named(sig, PyTuple_GET_ITEM(names, i), args[count + i],
                       taken))
            return -1;
    }
    for (i = 0; i < sig->count; i++) {
        if (!taken[i] && i < sig->required) {
            PyErr_Format(PyExc_TypeError, "Connection.%s() needs %s",
                         sig->method, sig->name[i]);
            return -1;
        }
        if (!taken[i])
            taken[i] = Py_None;
    }
    return 0;
}

static PyObject *Connection_request(PyObject *self, PyObject *const *args,
                                    Py_ssize_t count, PyObject *names)
{
    static const Signature sig = {"request", 2, 4,
                                  {"method", "uri", "headers", "body"}};
    PyObject *taken[4];
    degu_str name;
    degu_method method;

    if (take_args(&sig, args, count, names, taken) ||
        text_view("method", taken[0], &name))
        return NULL;
    if (degu_parse_method(name, &method))
        return PyErr_Format(PyExc_ValueError, "bad method: %R", taken[0]);
    return exchange((Connection *)self, method, taken[1], taken[2], taken[3]);
}

/* get() and those like it take uri and headers, put() and those like it a body
   too. */
#define SHORTCUT(name, method, count)                                         \
    static PyObject *Connection_##name(PyObject *self, PyObject *const *args, \
                                       Py_ssize_t n, PyObject *names)         \
    {                                                                         \
        static const Signature sig = {#name, 1, count,                        \
                                      {"uri", "headers", "body", NULL}};      \
        PyObject *taken[3] = {NULL, NULL, Py_None};                           \
        return take_args(&sig, args, n, names, taken)                         \
                   ? NULL                                                     \
                   : exchange((Connection *)self, method, taken[0], taken[1], \
                              taken[2]);                                      \
    }

SHORTCUT(get, DEGU_GET, 2)
SHORTCUT(head, DEGU_HEAD, 2)
SHORTCUT(delete, DEGU_DELETE, 2)
SHORTCUT(options, DEGU_OPTIONS, 2)
SHORTCUT(put, DEGU_PUT, 3)
SHORTCUT(post, DEGU_POST, 3)
SHORTCUT(patch, DEGU_PATCH, 3)

/* A copy of headers with this range, which may be there already. */
static PyObject *with_range(State *st, PyObject *headers, PyObject *range)
{
    PyObject *copy, *old;
    int same = 1;

    if (headers != Py_None && !PyDict_CheckExact(headers)) {
        need_type("headers", "a dict or None", headers);
        return NULL;
    }
    copy = headers == Py_None ? PyDict_New() : PyDict_Copy(headers);
    if (!copy)
        return NULL;
    old = Py_XNewRef(PyDict_SetDefault(copy, st->object[O_RANGE_NAME], range));
    if (old)
        same = PyObject_RichCompareBool(range, old, Py_EQ);
    if (old && same == 0)
        PyErr_Format(PyExc_ValueError, "'range' mismatch: %R != %R", range,
                     old);
    if (!old || same != 1)
        Py_CLEAR(copy);
    Py_XDECREF(old);
    return copy;
}

static PyObject *Connection_get_range(PyObject *self, PyObject *const *args,
                                      Py_ssize_t count, PyObject *names)
{
    static const Signature sig = {"get_range", 4, 4,
                                  {"uri", "headers", "start", "stop"}};
    State *st = state_of(self);
    PyObject *taken[4], *range, *headers, *response = NULL;

    if (take_args(&sig, args, count, names, taken))
        return NULL;
    range = PyObject_CallFunctionObjArgs(st->object[O_RANGE], taken[2],
                                         taken[3], NULL);
    headers = range ? with_range(st, taken[1], range) : NULL;
    if (headers)
        response = exchange((Connection *)self, DEGU_GET, taken[0], headers,
                            Py_None);
    Py_XDECREF(range);
    Py_XDECREF(headers);
    return response;
}

/* Raises what the next request would raise before it sends anything. */
static PyObject *Connection_check(PyObject *self, PyObject *unused)
{
    Reader *r = ((Connection *)self)->reader;
    degu_err err = DEGU_E_FINISHED;

    (void)unused;
    if (reader_enter(r))
        return NULL;
    if (!PEEK(r->closed) && r->conn && !check_descriptor(r))
        err = degu_conn_check(r->conn);
    if (err && !PyErr_Occurred())
        reader_raise(r, err, NULL);
    reader_leave(r);
    if (!err)
        Py_RETURN_NONE;
    note_progress(r->st, (Progress){false, false});
    return NULL;
}

/* Another thread may be waiting at the descriptor, whose number must not become
   another file's before it has left: it is that one which closes, now or, if it
   was leaving, at once. */
static void reader_shut(Reader *r)
{
    swap_mark(&r->ending, 1);
    Py_BEGIN_CRITICAL_SECTION(r);
    if (!r->closed)
        shutdown(r->own_socket.fd, SHUT_RDWR);
    Py_END_CRITICAL_SECTION();
    if (!swap_mark(&r->busy, 1))
        reader_leave(r);
}

static PyObject *Connection_close(PyObject *self, PyObject *unused)
{
    Reader *r = ((Connection *)self)->reader;
    PyObject *result = NULL;
    bool entered;

    (void)unused;
    if (PEEK(r->closed) || PEEK(r->ending))
        Py_RETURN_NONE;
    entered = !swap_mark(&r->busy, 1);
    if (!entered && r->socket) {
        reader_shut(r);
        Py_RETURN_NONE;
    }
    if (entered && r->kind == SECURE)
        say_goodbye(r);
    if (reader_claim(r))
        result = PyObject_CallMethodNoArgs(r->source, r->st->object[O_CLOSE]);
    else
        result = Py_NewRef(Py_None);
    if (entered)
        reader_leave(r);
    return result;
}

static PyObject *Connection_get_closed(PyObject *self, void *unused)
{
    Reader *r = ((Connection *)self)->reader;

    (void)unused;
    return PyBool_FromLong(PEEK(r->closed) || PEEK(r->ending));
}

static PyObject *Connection_get_sock(PyObject *self, void *unused)
{
    Reader *r = ((Connection *)self)->reader;

    (void)unused;
    return Py_NewRef(r->source ? r->source : Py_None);
}

/* Is it an SSLSocket, or of a class made from that? */
static bool has_tls(Reader *r)
{
    PyObject *modules = PyImport_GetModuleDict(), *type = NULL;
    int found;

    if (!r->source || (r->kind != SECURE && r->kind != DUCK))
        return false;
    if (r->kind == DUCK && PyDict_GetItemString(modules, "ssl"))
        type = import_object(r->st, O_SSL_SOCKET, "ssl", "SSLSocket");
    found = type ? PyObject_IsInstance(r->source, type) : r->kind == SECURE;
    if (PyErr_Occurred())
        PyErr_Clear();
    return found == 1;
}

/* Who is at the other end of an SSLSocket; None on any other. */
static PyObject *Connection_get_peer(PyObject *self, void *unused)
{
    Reader *r = ((Connection *)self)->reader;
    PyObject *found;

    (void)unused;
    if (!has_tls(r))
        Py_RETURN_NONE;
    if (PEEK(r->peer))
        return Py_NewRef(r->peer);
    found = ask_tls(r->st, O_PEER_OF, "peer_of", r->source);
    return found ? Py_NewRef(settle_object(&r->peer, found)) : NULL;
}

static PyObject *Connection_get_api(PyObject *self, void *unused)
{
    (void)unused;
    return Py_NewRef(state_of(self)->object[O_API]);
}

static PyMemberDef Connection_members[] = {
    MEMBER(Connection, base_headers),
    {NULL, 0, 0, 0, NULL}};

static PyGetSetDef Connection_getset[] = {
    {"sock", Connection_get_sock, NULL, NULL, NULL},
    {"closed", Connection_get_closed, NULL, NULL, NULL},
    {"peer", Connection_get_peer, NULL,
     PyDoc_STR("Who is at the other end: a degu._tls.Peer, or None without "
               "TLS."),
     NULL},
    {"api", Connection_get_api, NULL, NULL, NULL},
    {"bodies", Connection_get_api, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL}};

#define METHOD(name, args)                                                    \
    {#name, FASTCALL(Connection_##name), METH_FASTCALL | METH_KEYWORDS,       \
     PyDoc_STR(#name "(" args "): the Response.")}

static PyMethodDef Connection_methods[] = {
    METHOD(request, "method, uri, headers=None, body=None"),
    METHOD(get, "uri, headers=None"),
    METHOD(head, "uri, headers=None"),
    METHOD(delete, "uri, headers=None"),
    METHOD(options, "uri, headers=None"),
    METHOD(put, "uri, headers=None, body=None"),
    METHOD(post, "uri, headers=None, body=None"),
    METHOD(patch, "uri, headers=None, body=None"),
    METHOD(get_range, "uri, headers, start, stop"),
    {"check", Connection_check, METH_NOARGS,
     PyDoc_STR("check(): raise what the next request would raise before it "
               "sends anything: ProtocolError while a body is unread, "
               "EmptyPreambleError when the other end has closed.  Does not "
               "wait.")},
    {"close", Connection_close, METH_NOARGS,
     PyDoc_STR("close(): close the socket.")},
    {NULL, NULL, 0, NULL}};

static PyType_Slot Connection_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Connection(sock, base_headers=None, "
                                  "min_rate=256, spin_us=0): the client's "
                                  "end of a connection")},
    {Py_tp_new, SLOT(Connection_new)},
    {Py_tp_dealloc, SLOT(Connection_dealloc)},
    {Py_tp_traverse, SLOT(Connection_traverse)},
    {Py_tp_members, Connection_members},
    {Py_tp_getset, Connection_getset},
    {Py_tp_methods, Connection_methods},
    {0, NULL}};

static PyType_Spec Connection_spec = {"degu.base.Connection",
                                      sizeof(Connection), 0, TYPE_FLAGS,
                                      Connection_slots};

/* ======================================================================== */
/* Loop                                                                     */
/* ======================================================================== */

/* A degu_server that Python threads serve.  server.py makes it and is told
   through methods of owner: _connected, _closed, _refused, _exchanged, _failed,
   _upstream_failed, _spawn, and, if its connections are TLS, _secure, _shaken,
   _unsafe. */
typedef struct Loop {
    PyObject_HEAD
    PyObject *app;
    PyObject *owner;
    PyObject *api;
    State *st;
    degu_slot *slots;
    int active; /* threads inside serve() */
    int fd;     /* the listener's, of our own; -1: not open */
    bool stopped;
    degu_server server;
} Loop;

/* One thread inside degu_serve(). */
typedef struct Worker {
    Loop *loop;
    PyThreadState *thread;
} Worker;

static Worker *worker_enter(void *worker)
{
    Worker *w = worker;

    PyEval_RestoreThread(w->thread);
    return w;
}

static void worker_leave(Worker *w)
{
    w->thread = PyEval_SaveThread();
}

/* What Python has raised is for the log; method says how. */
static void loop_log(Loop *loop, int method, PyObject *session)
{
    PyObject *exception = take_exception(), *result;

    result = PyObject_CallMethodObjArgs(
        loop->owner, loop->st->object[method], session ? session : Py_None,
        exception, NULL);
    if (!result)
        PyErr_WriteUnraisable(loop->owner);
    Py_XDECREF(result);
    Py_XDECREF(exception);
}

static void loop_failed(Loop *loop, PyObject *session)
{
    loop_log(loop, O_FAILED, session);
}

/* ---- requests ---- */

/* Of the exception that came out of the app: the other end's fault is told by
   the line that its connection ends with, all else with a traceback. */
static degu_err app_failed(Worker *w, Reader *r)
{
    degu_err err = blame(r);

    if (err == DEGU_E_HANDLER)
        loop_failed(w->loop, r->session);
    else
        PyErr_Clear();
    return err;
}

/* The items of what the app returned. */
static int unpack_response(PyObject *response, long *status, degu_str *reason,
                           PyObject **headers, PyObject **body)
{
    PyObject *number;

    if (!PyTuple_Check(response) || PyTuple_GET_SIZE(response) != 4)
        return need_type("response", "a 4-tuple", response);
    number = PyTuple_GET_ITEM(response, 0);
    if (!PyLong_CheckExact(number))
        return need_type("status", "an int", number);
    *status = PyLong_AsLong(number);
    if (*status < 100 || *status > 599) {
        PyErr_Format(PyExc_ValueError, "need 200 <= status <= 599; got %R",
                     number);
        return -1;
    }
    *headers = PyTuple_GET_ITEM(response, 2);
    *body = PyTuple_GET_ITEM(response, 3);
    return text_view("reason", PyTuple_GET_ITEM(response, 1), reason);
}

static bool is_upstreams_fault(const Output *out)
{
    const Reader *from = out->from;

    return from && from->kind != SERVED && from->kind != FROM &&
           degu_conn_read_error(from->conn);
}

/* Another server's answer broke off.  If not a byte of ours had left, that is
   told (RFC 9110 15.6.3, 15.6.5), and not that the app has failed. */
static degu_err upstream_failed(Worker *w, Reader *r, degu_err err)
{
    loop_log(w->loop, O_UPSTREAM_FAILED, r->session);
    if (degu_conn_has_sent(r->conn))
        return DEGU_E_HANDLER;
    degu_conn_close_after(r->conn);
    if (err == DEGU_E_TIMEOUT)
        err = degu_reply(r->conn, 504, "Gateway Timeout", NULL);
    else
        err = degu_reply(r->conn, 502, "Bad Gateway", NULL);
    (void)err; /* the connection ends anyway */
    return DEGU_E_HANDLER;
}

/* Sends an answer.  Errors of the way to the other end are returned as they
   are, all else is the app's fault. */
static degu_err send_answer(Worker *w, Reader *r, int status, degu_str reason,
                            Lines *lines, PyObject *body)
{
    degu_err err;
    char text[96];
    Output out;

    if (output_open(r->st, &out, r, body)) {
        loop_failed(w->loop, r->session);
        return DEGU_E_HANDLER;
    }
    err = degu_send_response(r->conn, status, reason, lines->at, lines->count,
                             out.body);
    output_close(&out, err);
    if (err && (r->exception ||
                (err != DEGU_E_RESET && err != DEGU_E_TIMEOUT) ||
                (out.from && degu_conn_read_error(out.from->conn)))) {
        output_raise(&out, err, find_culprit(lines, err, text, sizeof text));
        err = is_upstreams_fault(&out) ? upstream_failed(w, r, err)
                                       : app_failed(w, r);
    }
    output_leave(&out);
    return err;
}

/* Sends what the app returned. */
static degu_err respond(Worker *w, Reader *r, PyObject *response)
{
    PyObject *headers = NULL, *body = NULL;
    degu_str reason;
    degu_err err = DEGU_E_HANDLER;
    long status = 0;
    Lines lines;

    lines_init(&lines);
    if (unpack_response(response, &status, &reason, &headers, &body) ||
        add_headers(r->st, &lines, headers))
        loop_failed(w->loop, r->session);
    else
        err = send_answer(w, r, (int)status, reason, &lines, body);
    lines_drop(&lines);
    return err;
}

static degu_err call_app(Worker *w, Reader *r, const degu_request *q)
{
    PyObject *args[4], *response = NULL;
    degu_err err = DEGU_E_HANDLER;

    args[0] = NULL;
    args[1] = r->session;
    args[2] = request_new(r, q);
    args[3] = w->loop->api;
    if (args[2])
        response = PyObject_Vectorcall(w->loop->app, args + 1,
                                       3 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                       NULL);
    Py_XDECREF(args[2]);
    if (!response || reader_enter(r)) {
        err = app_failed(w, r);
    } else {
        if (PEEK(w->loop->stopped))
            degu_conn_close_after(r->conn);
        err = respond(w, r, response);
        reader_leave(r);
    }
    Py_XDECREF(response);
    return err;
}

/* The exchange is over: bodies of it must not touch the connection again, and
   a thread that the app left reading one must be out of it. */
static void reader_release(Reader *r)
{
    reader_oust(r);
    r->conn = NULL;
    POKE(r->serial, r->serial + 1);
    Py_CLEAR(r->exception);
    Py_BEGIN_CRITICAL_SECTION(r);
    put_object(&r->fault, NULL);
    Py_END_CRITICAL_SECTION();
    reader_leave(r);
}

static degu_err loop_handle(degu_session *s, const degu_request *q)
{
    Worker *w = worker_enter(s->worker);
    Reader *r = s->data;
    degu_io io = degu_conn_io(s->conn);
    degu_err err;

    r->conn = s->conn;
    POKE(r->requests, (size_t)s->requests);
    degu_conn_set_io(s->conn, socket_io(r));
    err = call_app(w, r, q);
    reader_release(r);
    degu_conn_set_io(s->conn, io);
    worker_leave(w);
    return err;
}

/* ---- connections ---- */

static PyObject *address_object(const degu_address *a)
{
    char text[INET6_ADDRSTRLEN], name[sizeof a->name + 1] = "";

    switch ((int)a->family) {
    case DEGU_IPV4:
        inet_ntop(AF_INET, a->ip, text, sizeof text);
        return Py_BuildValue("si", text, (int)a->port);
    case DEGU_IPV6:
        inet_ntop(AF_INET6, a->ip, text, sizeof text);
        return Py_BuildValue("siII", text, (int)a->port,
                             (unsigned)a->flowinfo, (unsigned)a->scope_id);
    case DEGU_UNIX:
        return PyUnicode_DecodeFSDefaultAndSize((const char *)a->name,
                                                a->name_len);
    case DEGU_ABSTRACT:
        /* Python shows the NUL in front of an abstract name. */
        memcpy(name + 1, a->name, a->name_len);
        return PyBytes_FromStringAndSize(name, (Py_ssize_t)a->name_len + 1);
    default:
        return PyUnicode_FromStringAndSize(NULL, 0);
    }
}

static PyObject *credentials_object(const degu_session *s)
{
    if (!s->has_credentials)
        Py_RETURN_NONE;
    return Py_BuildValue("LLL", (long long)s->credentials.pid,
                         (long long)s->credentials.uid,
                         (long long)s->credentials.gid);
}

/* The session that server.py makes of a new connection, None to refuse it. */
static PyObject *greet(Worker *w, Reader *r, const degu_session *s)
{
    PyObject *address = address_object(&s->peer), *session = NULL;
    PyObject *credentials = credentials_object(s);
    PyObject *number = PyLong_FromLong(s->socket->fd);

    if (address && credentials && number)
        session = PyObject_CallMethodObjArgs(
            w->loop->owner, w->loop->st->object[O_CONNECTED], r, number,
            address, credentials, r->source ? r->source : Py_None, NULL);
    Py_XDECREF(number);
    Py_XDECREF(address);
    Py_XDECREF(credentials);
    return session;
}

static degu_err loop_connect(degu_session *s)
{
    Worker *w = worker_enter(s->worker);
    Reader *r = s->data ? s->data : reader_alloc(w->loop->st, SERVED, NULL);

    if (r) {
        r->socket = s->socket;
        r->session = greet(w, r, s);
        if (r->source && r->session && r->session != Py_None)
            look_for_pending(r); /* on_connect() may have read */
    }
    if (!r || !r->session)
        loop_failed(w->loop, NULL);
    if (r && (!r->session || r->session == Py_None))
        Py_CLEAR(r);
    s->data = r;
    worker_leave(w);
    return r ? DEGU_OK : DEGU_E_HANDLER;
}

static void say_farewell(Loop *loop, degu_session *s, degu_err why)
{
    Reader *r = s->data;
    PyObject *reason, *result;

    s->data = NULL;
    if (!r)
        return;
    POKE(r->requests, (size_t)s->requests);
    r->socket = NULL;
    reason = PyUnicode_FromString(degu_strerror(why));
    result = reason ? PyObject_CallMethodObjArgs(
                          loop->owner, loop->st->object[O_CLOSED], r->session,
                          reason, NULL)
                    : NULL;
    if (!result)
        loop_failed(loop, r->session);
    Py_XDECREF(reason);
    Py_XDECREF(result);
    Py_CLEAR(r->session);
    Py_DECREF(r);
}

/* From a worker without the GIL, or from degu_server_close() with it. */
static void loop_close(degu_session *s, degu_err why)
{
    if (s->worker)
        worker_enter(s->worker);
    say_farewell(s->user, s, why);
    if (s->worker)
        worker_leave(s->worker);
}

/* Only if the owner wants it. */
static void loop_exchange(degu_session *s, const degu_exchange *x)
{
    Worker *w = worker_enter(s->worker);
    const Reader *r = s->data;
    const char *method = x->target.ptr ? degu_method_name(x->method).ptr : NULL;
    PyObject *result = PyObject_CallMethod(
        w->loop->owner, "_exchanged", "Oss#iKKds", r->session, method,
        x->target.ptr, (Py_ssize_t)x->target.len, x->status,
        (unsigned long long)x->bytes_in, (unsigned long long)x->bytes_out,
        (double)x->duration_ns / 1e9, x->why ? degu_err_name(x->why) : NULL);

    if (!result)
        loop_failed(w->loop, r->session);
    Py_XDECREF(result);
    worker_leave(w);
}

static void loop_refuse(const degu_address *peer, void *user, void *worker)
{
    Worker *w = worker_enter(worker);
    PyObject *address = address_object(peer), *result = NULL;

    (void)user;
    if (address)
        result = PyObject_CallMethodObjArgs(
            w->loop->owner, w->loop->st->object[O_REFUSED], address, NULL);
    if (!result)
        loop_failed(w->loop, NULL);
    Py_XDECREF(address);
    Py_XDECREF(result);
    worker_leave(w);
}

/* ---- TLS: a transport whose connections are ssl.SSLSockets ---- */

/* The way while nobody is in the app: the GIL is not held. */
static ptrdiff_t served_recv(void *ctx, void *buf, size_t len, unsigned flags)
{
    Reader *r = ctx;
    Worker *w = worker_enter(r->served->worker);
    ptrdiff_t n = secure_recv(r, buf, len, flags);

    Py_CLEAR(r->exception);
    worker_leave(w);
    return n;
}

static ptrdiff_t served_send(void *ctx, const degu_str *pieces, size_t count,
                             unsigned flags)
{
    Reader *r = ctx;
    Worker *w = worker_enter(r->served->worker);
    ptrdiff_t n = secure_send(r, pieces, count, flags);

    Py_CLEAR(r->exception);
    worker_leave(w);
    return n;
}

/* server.py makes an SSLSocket of the descriptor. */
static PyObject *make_secure(Loop *loop, const degu_session *s)
{
    PyObject *number = PyLong_FromLong(s->socket->fd), *sock = NULL;

    if (number)
        sock = PyObject_CallMethodOneArg(loop->owner,
                                         loop->st->object[O_SECURE], number);
    Py_XDECREF(number);
    return sock;
}

/* An OSError is about the connection, which may have gone: loop_unsafe() tells
   of it. */
static degu_err loop_open(void *ctx, degu_session *s, degu_io *io)
{
    Loop *loop = ctx;
    Worker *w = worker_enter(s->worker);
    Reader *r = reader_alloc(loop->st, SERVED, NULL);
    degu_err err = DEGU_OK;

    if (r) {
        r->socket = s->socket;
        r->served = s;
        r->source = make_secure(loop, s);
    }
    if (r && r->source) {
        s->data = Py_NewRef(r); /* on_close gives this one back */
        io->ctx = r;
        io->recv = served_recv;
        io->send = served_send;
    } else if (r && PyErr_ExceptionMatches(PyExc_OSError)) {
        s->data = r;
        err = hold_exception(r, DEGU_E_HANDSHAKE);
    } else {
        loop_failed(loop, NULL);
        Py_XDECREF(r);
        err = DEGU_E_HANDLER;
    }
    worker_leave(w);
    return err;
}

/* Output is waited for: a flight of a handshake fits into the socket, as a
   rule. */
static degu_err shake(Reader *r)
{
    PyObject *result = NULL;
    degu_err err = DEGU_OK;

    while (!result && !err) {
        result = PyObject_CallMethodNoArgs(r->source,
                                           r->st->object[O_DO_HANDSHAKE]);
        if (result)
            break;
        r->socket->nonblocking =
            is_ssl_error(r->st, O_WANT_READ, "SSLWantReadError");
        err = secure_wait(r, 0);
        r->socket->nonblocking = true;
    }
    Py_XDECREF(result);
    return err;
}

/* server.py has a look at it, and raises if it does not like it. */
static degu_err loop_handshake(void *secure)
{
    Reader *r = secure;
    Worker *w = worker_enter(r->served->worker);
    degu_err err = shake(r);
    PyObject *result;

    if (!err) {
        result = PyObject_CallMethodOneArg(
            w->loop->owner, r->st->object[O_SHAKEN], r->source);
        if (!result)
            err = hold_exception(r, DEGU_E_HANDSHAKE);
        Py_XDECREF(result);
    }
    worker_leave(w);
    return err == DEGU_E_TLS ? DEGU_E_HANDSHAKE : err;
}

static bool loop_has_input(void *secure)
{
    return ((Reader *)secure)->more;
}

/* server.py tells of a handshake that failed. */
static void tell_unsafe(Loop *loop, const degu_session *s, degu_err why)
{
    Reader *r = s->data;
    PyObject *address = address_object(&s->peer), *result = NULL;
    PyObject *reason = PyUnicode_FromString(degu_strerror(why));

    if (address && reason)
        result = PyObject_CallMethodObjArgs(
            loop->owner, loop->st->object[O_UNSAFE], address, reason,
            r->exception ? r->exception : Py_None, NULL);
    if (!result)
        loop_failed(loop, NULL);
    Py_XDECREF(result);
    Py_XDECREF(reason);
    Py_XDECREF(address);
}

/* With or without the GIL, as loop_close().  Without a Reader it has been told
   of. */
static void loop_unsafe(degu_session *s, degu_err why)
{
    Reader *r = s->data;

    if (s->worker)
        worker_enter(s->worker);
    if (r)
        tell_unsafe(s->user, s, why);
    s->data = NULL;
    Py_XDECREF(r);
    if (s->worker)
        worker_leave(s->worker);
}

static void loop_end_way(void *secure, bool clean)
{
    Reader *r = secure;
    void *worker = r->served->worker;
    PyObject *result;

    if (worker)
        worker_enter(worker);
    r->conn = clean ? r->served->conn : NULL;
    say_goodbye(r);
    result = PyObject_CallMethodNoArgs(r->source, r->st->object[O_CLOSE]);
    if (!result)
        PyErr_Clear();
    Py_XDECREF(result);
    r->conn = NULL;
    r->served = NULL;
    r->socket = NULL;
    Py_DECREF(r);
    if (worker)
        worker_leave(worker);
}

static degu_transport loop_transport(Loop *loop)
{
    degu_transport transport = {loop, loop_open, loop_handshake,
                                loop_has_input, loop_end_way};

    return transport;
}

/* ---- threads ---- */

static void loop_shortage(void *user, void *worker)
{
    Worker *w = worker_enter(worker);
    PyObject *result = PyObject_CallMethodNoArgs(
        w->loop->owner, w->loop->st->object[O_SPAWN]);

    (void)user;
    if (!result)
        loop_failed(w->loop, NULL);
    Py_XDECREF(result);
    worker_leave(w);
}

static degu_server_config loop_config(Loop *loop, size_t max_connections,
                                      unsigned max_requests, int timeout_ms,
                                      unsigned min_rate, unsigned spin_us,
                                      int stop_ms)
{
    degu_server_config config = degu_server_defaults(loop_handle, loop->slots,
                                                     max_connections);

    config.max_requests = max_requests;
    config.idle_timeout_ms = timeout_ms;
    config.head_timeout_ms = timeout_ms;
    config.body_timeout_ms = timeout_ms;
    config.min_rate = min_rate;
    config.spin_us = spin_us;
    config.stop_ms = stop_ms;
    config.user = loop;
    config.on_connect = loop_connect;
    config.on_close = loop_close;
    config.on_handshake_error = loop_unsafe;
    config.on_refuse = loop_refuse;
    config.on_shortage = loop_shortage;
    return config;
}

/* Once it is stopped and the last thread has left, descriptors are not kept
   for whoever still holds the object. */
static void loop_end(Loop *loop)
{
    int fd = -1;

    Py_BEGIN_CRITICAL_SECTION(loop);
    if (loop->stopped && !loop->active) {
        fd = loop->fd;
        loop->fd = -1; /* closing calls Python, which may come here again */
    }
    Py_END_CRITICAL_SECTION();
    if (fd < 0)
        return;
    degu_server_close(&loop->server);
    close(fd);
}

static int loop_start(Loop *loop, int fd, const degu_server_config *config)
{
    degu_err err;

    loop->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (loop->fd < 0) {
        raise_system(errno);
        return -1;
    }
    err = degu_server_init(&loop->server, loop->fd, config);
    if (err) {
        raise_error(loop->st, err, errno, NULL, NULL);
        close(loop->fd);
        loop->fd = -1;
    }
    return err ? -1 : 0;
}

static PyObject *Loop_new(PyTypeObject *type, PyObject *args, PyObject *kw)
{
    static char *names[] = {"fd", "app", "owner", "max_connections",
                            "max_requests", "timeout_ms", "min_rate",
                            "spin_us", "stop_ms", "exchanges", "secure",
                            NULL};
    State *st = PyType_GetModuleState(type);
    int fd, max_connections, timeout_ms, stop_ms, exchanges = 0, secure = 0;
    degu_server_config config;
    unsigned max_requests, min_rate, spin_us;
    PyObject *app, *owner;
    Loop *loop;

    if (!PyArg_ParseTupleAndKeywords(args, kw, "iOOiIiIIi|pp:Loop", names, &fd,
                                     &app, &owner, &max_connections,
                                     &max_requests, &timeout_ms, &min_rate,
                                     &spin_us, &stop_ms, &exchanges, &secure))
        return NULL;
    loop = (Loop *)type->tp_alloc(type, 0);
    if (!loop)
        return NULL;
    loop->fd = -1;
    loop->st = st;
    loop->app = Py_NewRef(app);
    loop->owner = Py_NewRef(owner);
    loop->api = Py_NewRef(st->object[O_API]);
    /* From calloc(), whose pages are zero without being touched. */
    loop->slots = PyMem_RawCalloc((size_t)max_connections, sizeof(degu_slot));
    config = loop_config(loop, (size_t)max_connections, max_requests,
                         timeout_ms, min_rate, spin_us, stop_ms);
    if (exchanges)
        config.on_exchange = loop_exchange;
    if (secure)
        config.transport = loop_transport(loop);
    if (!loop->slots)
        PyErr_NoMemory();
    if (!loop->slots || loop_start(loop, fd, &config))
        Py_CLEAR(loop);
    return (PyObject *)loop;
}

/* serve(): serves until stop(), beside others that do. */
static PyObject *Loop_serve(PyObject *self, PyObject *unused)
{
    Loop *loop = (Loop *)self;
    Worker w = {loop, NULL};
    degu_err err;
    bool open;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(loop);
    open = loop->fd >= 0;
    loop->active += open;
    Py_END_CRITICAL_SECTION();
    if (!open)
        Py_RETURN_NONE;
    w.thread = PyEval_SaveThread();
    err = degu_serve(&loop->server, &w);
    PyEval_RestoreThread(w.thread);
    Py_BEGIN_CRITICAL_SECTION(loop);
    loop->active--;
    Py_END_CRITICAL_SECTION();
    loop_end(loop);
    if (err) {
        raise_error(loop->st, err, errno, NULL, NULL);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *Loop_stop(PyObject *self, PyObject *unused)
{
    Loop *loop = (Loop *)self;

    (void)unused;
    Py_BEGIN_CRITICAL_SECTION(loop);
    POKE(loop->stopped, true);
    if (loop->fd >= 0)
        degu_server_stop(&loop->server);
    Py_END_CRITICAL_SECTION();
    loop_end(loop);
    Py_RETURN_NONE;
}

static int Loop_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return visit_fields(FIELDS(self, Loop, app, api), visit, arg);
}

/* Nobody is inside serve(): whoever is holds a reference. */
static int Loop_clear(PyObject *self)
{
    Loop *loop = (Loop *)self;

    loop->stopped = true;
    loop_end(loop);
    clear_fields(FIELDS(self, Loop, app, api));
    return 0;
}

static void Loop_dealloc(PyObject *self)
{
    Loop *loop = (Loop *)self;

    loop->stopped = true;
    loop_end(loop);
    PyMem_RawFree(loop->slots);
    object_dealloc(self);
}

static PyMethodDef Loop_methods[] = {
    {"serve", Loop_serve, METH_NOARGS, NULL},
    {"stop", Loop_stop, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyType_Slot Loop_slots[] = {
    {Py_tp_new, SLOT(Loop_new)},
    {Py_tp_dealloc, SLOT(Loop_dealloc)},
    {Py_tp_traverse, SLOT(Loop_traverse)},
    {Py_tp_clear, SLOT(Loop_clear)},
    {Py_tp_methods, Loop_methods},
    {0, NULL}};

static PyType_Spec Loop_spec = {"degu._degu.Loop", sizeof(Loop), 0, TYPE_FLAGS,
                                Loop_slots};

/* ======================================================================== */
/* module                                                                   */
/* ======================================================================== */

/* format_range(start, stop[, total]): the text on the wire. */
static PyObject *format_range(PyObject *module, PyObject *args)
{
    unsigned long long start, stop, total;
    char text[64];
    degu_buffer buffer = {text, sizeof text, 0};
    degu_range range;
    degu_content_range content;
    degu_err err;

    if (!PyArg_ParseTuple(args, "KK|K:format_range", &start, &stop, &total))
        return NULL;
    range.start = content.start = start;
    range.stop = content.stop = stop;
    if (PyTuple_GET_SIZE(args) == 2) {
        err = degu_format_range(&buffer, range);
    } else {
        content.total = total;
        err = degu_format_content_range(&buffer, content);
    }
    if (!err)
        return new_text(text, buffer.len);
    raise_error(PyModule_GetState(module), err, 0, NULL, NULL);
    return NULL;
}

/* write_to(body, wfile): for BodyIter and ChunkedBodyIter. */
static PyObject *write_to(PyObject *module, PyObject *args)
{
    PyObject *body, *file;

    if (!PyArg_ParseTuple(args, "OO:write_to", &body, &file))
        return NULL;
    return write_body(PyModule_GetState(module), body, file);
}

/* The dict of a head of which only the fields are of interest; offsets in
   errors are counted from first on. */
static PyObject *fields_of_head(State *st, char *head, size_t len,
                                size_t first, bool response)
{
    degu_response p;
    degu_request q;
    size_t at = 0;
    degu_err err = degu_scan_head(head, len, &at);

    if (!err && at < len) { /* an empty line among them */
        err = DEGU_E_NAME;
        at -= 2;
    } else if (!err && response) {
        err = degu_parse_response(head, len, DEGU_GET, &p);
        at = p.error_at;
    } else if (!err) {
        err = degu_parse_request(head, len, &q);
        at = q.error_at;
    }
    if (!err)
        return headers_dict(st, response ? &p.fields : &q.fields);
    at = at < first ? first : at > len ? len : at;
    raise_seen(st, err, 0,
               degu_bytes(head + at, len - at < 32 ? len - at : 32),
               at - first, NULL);
    return NULL;
}

/* parse_head(head, isresponse, first): the dict of its fields. */
static PyObject *parse_head(PyObject *module, PyObject *args)
{
    PyObject *dict = NULL;
    Py_ssize_t first;
    Py_buffer src;
    int response;
    char *head;

    if (!PyArg_ParseTuple(args, "y*pn:parse_head", &src, &response, &first))
        return NULL;
    if (first < 0 || first > src.len) {
        PyBuffer_Release(&src);
        return PyErr_Format(PyExc_ValueError, "need 0 <= first <= %zd; got %zd",
                            src.len, first);
    }
    /* A copy, as names are folded where they stand. */
    head = PyMem_Malloc((size_t)src.len + 1);
    if (head) {
        memcpy(head, src.buf, (size_t)src.len);
        dict = fields_of_head(PyModule_GetState(module), head, (size_t)src.len,
                              (size_t)first, response);
    } else {
        PyErr_NoMemory();
    }
    PyMem_Free(head);
    PyBuffer_Release(&src);
    return dict;
}

/* ---- addresses ---- */

/* parse_address(text): the object that stands for it. */
static PyObject *parse_address(PyObject *module, PyObject *text)
{
    degu_address address;
    degu_str view;
    degu_err err;

    if (text_view("address", text, &view))
        return NULL;
    err = strlen(view.ptr) == view.len
              ? degu_parse_address(view.ptr, &address)
              : DEGU_E_ADDRESS;
    if (!err)
        return address.family == DEGU_ABSTRACT && !address.name_len
                   ? PyBytes_FromStringAndSize(NULL, 0)
                   : address_object(&address);
    PyErr_Format(PyExc_ValueError, "%s: %R", degu_strerror(err), text);
    (void)module;
    return NULL;
}

static int get_name(degu_address *a, const char *name, Py_ssize_t len)
{
    if (len > 0 && !*name) { /* Python shows the NUL of an abstract name */
        a->family = DEGU_ABSTRACT;
        name++;
        len--;
    } else {
        a->family = len ? DEGU_UNIX : DEGU_ABSTRACT;
    }
    if ((size_t)len >= sizeof a->name)
        return -1;
    memcpy(a->name, name, (size_t)len);
    a->name_len = (uint8_t)len;
    return 0;
}

static int get_tuple(degu_address *a, PyObject *tuple)
{
    unsigned flowinfo = 0, scope_id = 0;
    const char *host;
    int port, domain = PyTuple_GET_SIZE(tuple) == 2 ? AF_INET : AF_INET6;

    if (!PyArg_ParseTuple(tuple, "si|II", &host, &port, &flowinfo, &scope_id))
        return -1;
    a->family = domain == AF_INET ? DEGU_IPV4 : DEGU_IPV6;
    a->port = (uint16_t)port;
    a->flowinfo = flowinfo;
    a->scope_id = scope_id;
    return port < 0 || port > 65535 || inet_pton(domain, host, a->ip) != 1;
}

/* format_address(address): the text that parse_address() takes. */
static PyObject *format_address(PyObject *module, PyObject *object)
{
    char text[DEGU_ADDRESS_TEXT];
    PyObject *name = NULL;
    degu_address a;
    int failed;

    (void)module;
    memset(&a, 0, sizeof a);
    if (PyTuple_Check(object))
        failed = get_tuple(&a, object);
    else if (PyBytes_Check(object))
        failed = get_name(&a, PyBytes_AS_STRING(object),
                          PyBytes_GET_SIZE(object));
    else
        failed = !PyUnicode_FSConverter(object, &name) ||
                 get_name(&a, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name));
    Py_XDECREF(name);
    if (!failed)
        return PyUnicode_FromString(degu_format_address(&a, text));
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "%s: %R",
                     degu_strerror(DEGU_E_ADDRESS), object);
    return NULL;
}

static PyMethodDef module_methods[] = {
    {"format_address", format_address, METH_O, NULL},
    {"format_range", format_range, METH_VARARGS, NULL},
    {"parse_address", parse_address, METH_O, NULL},
    {"parse_head", parse_head, METH_VARARGS, NULL},
    {"write_to", write_to, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL}};

static PyTypeObject *type_base(int index)
{
    return index == T_REQUEST ? &PyDict_Type : &PyBaseObject_Type;
}

static int make_types(PyObject *module, State *st)
{
    PyType_Spec *specs[T_COUNT] = {&Reader_spec, &Body_spec, &ChunkedBody_spec,
                                   &Request_spec, &Connection_spec,
                                   &Loop_spec};
    PyObject *type;
    int i;

    for (i = 0; i < T_COUNT; i++) {
        type = PyType_FromModuleAndSpec(module, specs[i],
                                        (PyObject *)type_base(i));
        st->type[i] = (PyTypeObject *)type;
        if (!type || PyModule_AddType(module, st->type[i]))
            return -1;
    }
    return 0;
}

/* Puts count attributes of a module into objects. */
static int import_names(const char *from, const char *const *names, int count,
                        PyObject **objects)
{
    PyObject *module = PyImport_ImportModule(from);
    int i;

    for (i = 0; module && i < count; i++) {
        objects[i] = PyObject_GetAttrString(module, names[i]);
        if (!objects[i])
            Py_CLEAR(module);
    }
    Py_XDECREF(module);
    return module ? 0 : -1;
}

static int intern_names(const char *const *names, int count,
                        PyObject **objects)
{
    int i;

    for (i = 0; i < count; i++) {
        objects[i] = PyUnicode_InternFromString(names[i]);
        if (!objects[i])
            return -1;
    }
    return 0;
}

static int make_objects(PyObject *module, State *st)
{
    static const char *const values[] = {"Response", "API", "Range",
                                         "ContentRange", "BodyIter",
                                         "ChunkedBodyIter"};
    static const char *const exceptions[] = {"DeguError", "ProtocolError",
                                             "TruncatedError",
                                             "EmptyPreambleError"};
    static const char *const names[] = {
        "range", "fileno", "close", "release", "_source", "_length", "_state",
        "gettimeout", "recv_into", "send", "readinto", "readline", "write",
        "_failed", "_upstream_failed", "_connected", "_closed", "_refused",
        "_spawn", "_secure", "_shaken", "_unsafe", "do_handshake", "pending",
        "unwrap", "_sslobj", "read", "sent", "answered"};
    static const char *const items[] = {"method", "uri", "script", "path",
                                        "query", "headers", "body"};
    PyObject **o = st->object;

    o[O_NO_ARGS] = PyTuple_New(0);
    o[O_STAND_IN] = PyObject_CallNoArgs((PyObject *)&PyBaseObject_Type);
    st->keeps_spare = true;
    if (!o[O_NO_ARGS] || !o[O_STAND_IN] ||
        intern_names(items, ITEM_COUNT, st->item) ||
        intern_names(names, (int)(sizeof names / sizeof *names),
                     o + O_RANGE_NAME) ||
        import_names("degu._values", values, 6, o) ||
        import_names("degu.exceptions", exceptions, 4, o + O_DEGU_ERROR))
        return -1;
    o[O_API] = PyObject_CallFunctionObjArgs(
        o[O_API_TYPE], st->type[T_BODY], st->type[T_CHUNKED_BODY],
        o[O_BODY_ITER], o[O_CHUNKED_BODY_ITER], o[O_RANGE], o[O_CONTENT_RANGE],
        NULL);
    return o[O_API] ? PyModule_AddObjectRef(module, "api", o[O_API]) : -1;
}

static int module_exec(PyObject *module)
{
    State *st = PyModule_GetState(module);
    degu_str name;
    int i;

    for (i = 0; i < METHOD_COUNT; i++) {
        name = degu_method_name((degu_method)(1 << i));
        st->method[i] = new_text(name.ptr, name.len);
        if (!st->method[i])
            return -1;
        PyUnicode_InternInPlace(&st->method[i]);
    }
    if (make_types(module, st) || make_objects(module, st))
        return -1;
    return PyModule_AddStringConstant(module, "version", degu_version());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *st = PyModule_GetState(module);
    int i;

    for (i = 0; i < T_COUNT; i++)
        Py_VISIT(st->type[i]);
    return visit_fields(st->object, O_COUNT, visit, arg);
}

static int module_clear(PyObject *module)
{
    State *st = PyModule_GetState(module);
    int i;

    spare_drop(st);
    for (i = 0; i < T_COUNT; i++)
        Py_CLEAR(st->type[i]);
    clear_fields(st->object, O_COUNT);
    clear_fields(st->method, METHOD_COUNT);
    clear_fields(st->item, ITEM_COUNT);
    clear_fields(st->cache, CACHE_SIZE);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, SLOT(module_exec)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL}};

static struct PyModuleDef module_def = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "degu._degu",
    .m_doc = PyDoc_STR("degu.h for Python."),
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__degu(void);

PyMODINIT_FUNC PyInit__degu(void)
{
    return PyModuleDef_Init(&module_def);
}
