// What a template gets from `import "functions"`: all of std, plus the functions that the product adds to it.
//
// It holds signatures and what Jsonnet says best; whatever needs the execution or a library is asked of Python
// (tasks/jsonnet_functions.py), through the one native function `call`. Keep it lean: it is parsed for every
// evaluation that imports it.
//
//   array          avg contains maxArray minArray remove sum (std), removeAt
//   aggregate      groupBy zip unzip xnor xor (std)
//   hash           sha1 sha256 sha512 sha3 (that is SHA3-512), as lower-case hexadecimal digits
//   JSON and CSV   objectRemoveKey (std), parseXml manifestXml parseCsvWithHeader manifestCsv
//   mathematical   isDecimal isEven isInteger isOdd round abs ... (std), randomNumber
//   string         equalsIgnoreCase isEmpty trim (std), match
//   timestamp      dateFormat isLeapYear nowInMillis
//   utility        uuid getIntegrationName getIntegrationRegion getExecutionId getProjectId
//   miscellaneous  type length get extVar (std), has
//
// Documented and refused with an error that says so: xsltTransform (needs an XSLT processor), and
// getIntegrationVersionId and getIntegrationVersionNumber (a task is not told its version).
local call(name, arguments) =
  local answer = std.parseJson(std.native('call')(std.manifestJsonMinified([name] + arguments)));
  if 'error' in answer then error answer['error'] else answer.value;

local transpose(arrays) = [
  [if i < std.length(each) then each[i] else null for each in arrays]
  for i in std.range(0, std.foldl(std.max, [std.length(each) for each in arrays], 0) - 1)
];

std {
  removeAt(arr, index)::
    if index < 0 || index >= std.length(arr) then
      error 'removeAt: index %s is outside of an array of %d' % [index, std.length(arr)]
    else [arr[i] for i in std.range(0, std.length(arr) - 1) if i != index],

  groupBy(array, func)::
    local keys = [std.toString(func(each)) for each in array];
    {
      [key]: [array[i] for i in std.range(0, std.length(array) - 1) if keys[i] == key]
      for key in std.set(keys)
    },
  zip(arrays):: transpose(arrays),
  unzip(array):: transpose(array),

  sha1(str):: call('sha1', [str]),
  sha256(str):: call('sha256', [str]),
  sha512(str):: call('sha512', [str]),
  sha3(str):: call('sha3', [str]),

  parseXml(xml, format='badgerfish'):: call('parseXml', [xml, format]),
  manifestXml(json, format='badgerfish', indent_output=false):: call('manifestXml', [json, format, indent_output]),
  xsltTransform(xml, xsl):: call('xsltTransform', [xml, xsl]),
  parseCsvWithHeader(input, delimiter=',', overwrite_duplicate_headers=true)::
    call('parseCsvWithHeader', [input, delimiter, overwrite_duplicate_headers]),
  manifestCsv(json, headers=null):: call('manifestCsv', [json, headers]),

  randomNumber(lowerBound, upperBound):: call('randomNumber', [lowerBound, upperBound]),
  match(str, regexp):: call('match', [str, regexp]),

  dateFormat(timestamp, format_string, timezone='UTC', current_format=null)::
    call('dateFormat', [timestamp, format_string, timezone, current_format]),
  isLeapYear(year):: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0),
  nowInMillis():: call('nowInMillis', []),

  uuid():: call('uuid', []),
  getIntegrationName():: call('getIntegrationName', []),
  getIntegrationRegion():: call('getIntegrationRegion', []),
  getIntegrationVersionId():: call('getIntegrationVersionId', []),
  getIntegrationVersionNumber():: call('getIntegrationVersionNumber', []),
  getExecutionId():: call('getExecutionId', []),
  getProjectId():: call('getProjectId', []),

  // std.get names its arguments otherwise (o, f, default, inc_hidden), and a template may pass them by name.
  get(object, field, default=null, includeHidden=true):: std.get(object, field, default, includeHidden),
  has(object, field):: std.objectHas(object, field),
}
