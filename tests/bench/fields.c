/* fields.c - what no parser for Python can leave out: a dict of names that are
   known already and of values that are not
   SPDX-License-Identifier: MIT OR 0BSD

       build(pairs)   pairs: a tuple of (str, bytes), bytes in ASCII */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

static int put(PyObject *dict, PyObject *pair)
{
    PyObject *bytes = PyTuple_GET_ITEM(pair, 1);
    const Py_ssize_t len = PyBytes_GET_SIZE(bytes);
    PyObject *value = PyUnicode_New(len, 127);
    int bad;

    if (!value)
        return -1;
    memcpy(PyUnicode_1BYTE_DATA(value), PyBytes_AS_STRING(bytes),
           (size_t)len);
    bad = PyDict_SetItem(dict, PyTuple_GET_ITEM(pair, 0), value);
    Py_DECREF(value);
    return bad;
}

static PyObject *build(PyObject *module, PyObject *pairs)
{
    PyObject *dict = PyDict_New();
    Py_ssize_t i;

    (void)module;
    for (i = 0; dict && i < PyTuple_GET_SIZE(pairs); i++)
        if (put(dict, PyTuple_GET_ITEM(pairs, i)))
            Py_CLEAR(dict);
    return dict;
}

static PyMethodDef methods[] = {{"build", build, METH_O, NULL},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fields", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_fields(void)
{
    return PyModule_Create(&definition);
}
