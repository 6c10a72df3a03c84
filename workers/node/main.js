'use strict';

// Where the host starts us. This file must be readable for any Node.js, however old, so that it can say what is wrong;
// the rest, in worker.js, need not.

var MAJOR_MIN = 18;

if (Number(process.versions.node.split('.')[0]) < MAJOR_MIN) {
    process.stderr.write('LanguageWorkerConsoleLognode-version ' + process.versions.node + '\n');
    process.exit(3);
}

require('./worker');
