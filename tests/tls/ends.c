/* The C ends that matrix.py tests: a server and a client that print a line for
   everything that happens to them.
   SPDX-License-Identifier: MIT OR 0BSD

       ends server NAME=VALUE...             until the end of standard input
       ends client ADDRESS NAME=VALUE...

   profile=1.2 or 1.3; certificate=, key=, authority=FILE; folder=DIRECTORY of
   authorities; pin=HEX; anonymous=yes: anybody may connect; readable=yes: the
   key may be; memory=yes: files are handed over in memory; plain=yes: no TLS
   at all; timeout=MS of everything.
   A client's: name=NAME, or any for no check, or none for the address that it
   connects to; times=N connections; again=ADDRESS: a last connection there. */

#define DEGU_IMPLEMENTATION
#include "../../degu_tls.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 3
#define SLOTS 16
#define PINS 4

static struct {
    degu_tls_config tls;
    degu_tls_pin pins[PINS];
    const char *name;
    const char *again;
    bool any_name;
    bool memory;
    bool plain;
    int times;
    int timeout;
} setup;

/* ---- What the command line says ---- */

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "ends: %s: %s\n", what, which);
    exit(2);
}

static void add_pin(const char *hex)
{
    degu_tls_pin *pin = &setup.pins[setup.tls.pin_count++];
    size_t i;

    if (strlen(hex) != 64 || setup.tls.pin_count > PINS)
        fail("not a pin", hex);
    for (i = 0; i < 32; i++) {
        unsigned byte;
        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            fail("not a pin", hex);
        pin->sha256[i] = (unsigned char)byte;
    }
    setup.tls.pins = setup.pins;
}

static bool set_file(const char *key, const char *value)
{
    const char **file = !strcmp(key, "certificate") ? &setup.tls.cert_file
                        : !strcmp(key, "key")       ? &setup.tls.key_file
                        : !strcmp(key, "authority") ? &setup.tls.ca_file
                        : !strcmp(key, "folder")    ? &setup.tls.ca_path
                                                    : NULL;

    if (file)
        *file = value;
    return file != NULL;
}

static void set(const char *key, const char *value)
{
    const bool yes = !strcmp(value, "yes");

    if (set_file(key, value))
        return;
    if (!strcmp(key, "profile"))
        setup.tls.profile = strcmp(value, "1.3") ? DEGU_TLS_1_2 : DEGU_TLS_1_3;
    else if (!strcmp(key, "pin"))
        add_pin(value);
    else if (!strcmp(key, "no-pins"))
        setup.tls.pins = setup.pins; /* and none in it */
    else if (!strcmp(key, "anonymous"))
        setup.tls.allow_unauthenticated_clients = yes;
    else if (!strcmp(key, "readable"))
        setup.tls.allow_readable_key = yes;
    else if (!strcmp(key, "memory"))
        setup.memory = yes;
    else if (!strcmp(key, "plain"))
        setup.plain = yes;
    else if (!strcmp(key, "timeout"))
        setup.timeout = atoi(value);
    else if (!strcmp(key, "times"))
        setup.times = atoi(value);
    else if (!strcmp(key, "again"))
        setup.again = value;
    else if (!strcmp(key, "name"))
        setup.name = value;
    else
        fail("unknown setting", key);
}

static void read_settings(char **words)
{
    setup.times = 1;
    setup.timeout = 10000;
    setup.name = "localhost";
    for (; *words; words++) {
        char *value = strchr(*words, '=');
        if (!value)
            fail("not a setting", *words);
        *value++ = '\0';
        set(*words, value);
    }
    setup.any_name = !strcmp(setup.name, "any");
    if (setup.any_name || !strcmp(setup.name, "none"))
        setup.name = NULL;
}

static void hand_over(const char **file, degu_str *memory)
{
    FILE *stream = *file ? fopen(*file, "rb") : NULL;
    char *bytes;

    if (!*file)
        return;
    bytes = malloc(100000);
    if (!stream || !bytes)
        fail("cannot be read", *file);
    *memory = degu_bytes(bytes, fread(bytes, 1, 100000, stream));
    fclose(stream);
    *file = NULL;
}

static void take_back(degu_str *memory)
{
    free((void *)(uintptr_t)memory->ptr);
}

/* false: it is not to be; that has been printed. */
static bool open_tls(degu_tls *tls, bool server)
{
    degu_err err;

    if (setup.plain) {
        printf("open OK\n");
        return true;
    }
    if (setup.memory) {
        hand_over(&setup.tls.cert_file, &setup.tls.cert);
        hand_over(&setup.tls.key_file, &setup.tls.key);
        hand_over(&setup.tls.ca_file, &setup.tls.ca);
    }
    setup.tls.any_host_name = setup.any_name;
    err = server ? degu_tls_open_server(tls, &setup.tls)
                 : degu_tls_open_client(tls, &setup.tls);
    take_back(&setup.tls.cert);
    take_back(&setup.tls.key);
    take_back(&setup.tls.ca);
    printf("open %s %s\n", degu_err_name(err), degu_tls_why(tls));
    return err == DEGU_OK;
}

/* ---- The server ---- */

static degu_server server;

static degu_err handle(degu_session *session, const degu_request *request)
{
    degu_conn *conn = session->conn;
    degu_err err;

    printf("called %.*s\n", (int)request->path.len, request->path.ptr);
    if (!degu_is(request->path, "/body"))
        return degu_reply(conn, 200, "OK", "hello, world");
    err = degu_drain_body(conn, UINT64_MAX);
    printf("body %s %s\n", degu_err_name(err), degu_tls_error(conn));
    return err ? err : degu_reply(conn, 200, "OK", "");
}

static degu_err on_connect(degu_session *session)
{
    const degu_tls_peer *peer = degu_tls_peer_of(session->conn);

    if (peer)
        printf("connect %s %s %.*s\n", peer->protocol, peer->cipher,
               (int)peer->subject.len, peer->subject.ptr);
    return DEGU_OK;
}

static void on_close(degu_session *session, degu_err why)
{
    printf("close %s %s\n", degu_err_name(why), degu_tls_error(session->conn));
}

static void on_handshake_error(degu_session *session, degu_err why)
{
    printf("handshake %s %s\n", degu_err_name(why),
           degu_tls_error(session->conn));
}

static void *serve(void *unused)
{
    const degu_err err = degu_serve(&server, NULL);

    (void)unused;
    if (err)
        fprintf(stderr, "ends: degu_serve: %s\n", degu_err_name(err));
    return NULL;
}

static void run_server(degu_tls *tls)
{
    static degu_slot slots[SLOTS];
    degu_server_config config = degu_server_defaults(handle, slots, SLOTS);
    char text[DEGU_ADDRESS_TEXT];
    pthread_t threads[THREADS];
    degu_address address;
    int i;

    config.on_connect = on_connect;
    config.on_close = on_close;
    config.on_handshake_error = on_handshake_error;
    config.idle_timeout_ms = setup.timeout;
    config.head_timeout_ms = setup.timeout;
    config.body_timeout_ms = setup.timeout;
    if (!setup.plain)
        config.transport = degu_tls_transport(tls);
    if (degu_server_open(&server, "127.0.0.1:0", &config) ||
        degu_server_address(&server, &address))
        fail("cannot listen", "127.0.0.1:0");
    for (i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, serve, NULL))
            fail("no thread", "degu_serve");
    printf("listening %s\n", degu_format_address(&address, text));
    while (getchar() != EOF)
        ;
    degu_server_stop(&server);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    degu_server_close(&server);
}

/* ---- The client ---- */

static degu_client client;

static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (!folder)
        fail("cannot be read", "/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static bool note(const char *step, degu_err err, const char *more)
{
    printf("%s %s %s\n", step, degu_err_name(err), more);
    return err == DEGU_OK;
}

/* Up to the first thing that goes wrong. */
static void exchange(degu_tls *tls)
{
    degu_response response;
    degu_err err =
        setup.plain ? DEGU_OK : degu_tls_connect(tls, &client, setup.name);

    if (!note("connect", err, degu_tls_error(&client.conn)))
        return;
    err = degu_client_get(&client, "/hello", &response);
    if (!note("request", err, degu_tls_error(&client.conn)))
        return;
    printf("status %d\n", response.status);
    err = degu_drain_body(&client.conn, UINT64_MAX);
    note("body", err, degu_tls_error(&client.conn));
}

static void connect_to(degu_tls *tls, const char *address)
{
    const degu_err err = degu_client_open(&client, address, setup.timeout);

    if (err) {
        note("dial", err, "");
        return;
    }
    exchange(tls);
    degu_client_close(&client);
}

static void run_client(degu_tls *tls, const char *address)
{
    const int before = count_descriptors();
    int i;

    for (i = 0; i < setup.times; i++)
        connect_to(tls, address);
    if (setup.again) {
        printf("again\n");
        connect_to(tls, setup.again);
    }
    printf("left %d\n", count_descriptors() - before);
}

int main(int argc, char **argv)
{
    static degu_tls tls;
    const bool is_server = argc > 1 && !strcmp(argv[1], "server");

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!is_server && (argc < 3 || strcmp(argv[1], "client")))
        fail("server or client ADDRESS", "usage");
    read_settings(argv + (is_server ? 2 : 3));
    if (open_tls(&tls, is_server)) {
        if (is_server)
            run_server(&tls);
        else
            run_client(&tls, argv[2]);
        degu_tls_close(&tls);
    }
    printf("done\n");
    return 0;
}
