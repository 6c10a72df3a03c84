'use strict';

// Errors in the form that the host receives.

/** An error of the platform or of its use, not of the user's code. The library checks this property. */
function systemError(message, Kind = Error) {
    const error = new Kind(message);
    error.isAzureFunctionsSystemError = true;
    return error;
}

/** A thrown value as an Error. */
function toError(thrown) {
    if (thrown instanceof Error || (typeof thrown === 'object' && thrown !== null && typeof thrown.stack === 'string')) return thrown;
    if (thrown === undefined || thrown === null) return new Error('Unknown error');
    if (typeof thrown !== 'object') return new Error(String(thrown));
    try {
        return new Error(JSON.stringify(thrown));
    } catch {
        return new Error(String(thrown));
    }
}

/** The stack, followed by the stacks of the causes. */
function stackOf(error) {
    let text = String(error.stack ?? error);
    let cause = error.cause;
    for (let depth = 0; cause !== undefined && cause !== null && depth < 8; depth += 1) {
        text += `\nCaused by: ${cause.stack ?? cause}`;
        cause = cause.cause;
    }
    return text;
}

function toException(thrown) {
    const error = toError(thrown);
    return {
        message: String(error.message ?? ''),
        stackTrace: stackOf(error),
        type: String(error.name ?? 'Error'),
        isUserException: !error.isAzureFunctionsSystemError,
    };
}

module.exports = { systemError, toError, toException, stackOf };
