'use strict';

// The entry point. The syntax of this file must be valid in every version of Node.js, so that it can report one that is too old.

var MAJOR_MIN = 18;

if (Number(process.versions.node.split('.')[0]) < MAJOR_MIN) {
    process.stderr.write('LanguageWorkerConsoleLognode-version ' + process.versions.node + '\n');
    process.exit(3);
}

require('./worker');
